"""Methods of inversion asked directly, photo by photo, for tests that need no files and no faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentedit.codes import WeightDelta
from latentedit.inversion import InversionConfig
from latentedit.inversion.methods.table import find_method
from latentedit.inversion.problem import Bench, Callback, Problem
from latentedit.models import Model


@dataclass(frozen=True)
class Solved:
    """What was found of several photos: ``ws`` [N,L,D], noise by name, a delta and the steps taken of each."""

    ws: Tensor
    noise: dict[str, Tensor]
    deltas: list[WeightDelta]
    steps: list[int]


def solve(
    model: Model,
    targets: Tensor,
    *,
    method: str,
    config: InversionConfig,
    seeds: Sequence[int] | None = None,
    weights: Tensor | None = None,
    callback: Callback | None = None,
) -> Solved:
    """Invert crops [N,3,R,R] in [-1,1]."""
    bench, chosen = Bench(model, config), find_method(method, model)
    found = []
    for row in range(len(targets)):
        part = None if weights is None else weights[row : row + 1]
        seed = 0 if seeds is None else seeds[row]
        found.append(chosen.solve(Problem(bench, targets[row : row + 1], part, seed, row, callback)))
    codes = [solution.code for solution in found]
    return Solved(
        torch.cat([code.ws for code in codes]),
        {name: torch.cat([code.noise[name] for code in codes]) for name in codes[0].noise},
        [code.deltas[0] if code.deltas else {} for code in codes],
        [solution.steps for solution in found],
    )
