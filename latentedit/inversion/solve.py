"""From crops to latents: the methods, stage by stage, for one batch.

Legend: ``N`` photos, ``L`` style layers, ``D`` width of w, ``R`` resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.inversion.config import METHODS, InversionConfig
from latentedit.inversion.descent import Callback, Descent, Stretch
from latentedit.inversion.encode import encode_each
from latentedit.inversion.losses import Objective
from latentedit.inversion.low_rank import WeightDelta, refine_weights
from latentedit.inversion.noise import NoiseMaps
from latentedit.inversion.whitening import LatentSpace


@dataclass(frozen=True)
class Solution:
    """What was found: ``ws`` [N,L,D], noise maps by name [N,1,r,r] (empty: the stored ones), steps taken [N], and a
    weight delta per photo (empty where weights were left alone)."""

    ws: Tensor
    noise: dict[str, Tensor]
    steps: list[int]
    deltas: list[WeightDelta] = field(default_factory=list)


def choose_method(method: str, model: Any) -> str:
    """The method behind ``"auto"``: hybrid where the model has an encoder, else optimize.

    Raises:
        LatentEditError: an unknown method.
        ModelError: an encoder is asked for and the model has none.
    """
    if method not in METHODS:
        raise LatentEditError(f"method {method!r} is unknown.", f"Choose one of {', '.join(METHODS)}.")
    if method == "auto":
        return "optimize" if model.encoder is None else "hybrid"
    if method in ("encoder", "hybrid"):
        model.require("encoder")
    return method


def judge_of(model: Any) -> Any:
    """The model's perception network, looking at its own part of the model's crops; None where there is none."""
    if model.perception is None:
        return None
    return model.perception.for_template(model.template.scale, model.template.shift)


def solve(
    model: Any,
    target: Tensor,
    *,
    method: str,
    config: InversionConfig,
    seeds: Sequence[int],
    weights: Tensor | None = None,
    space: LatentSpace | None = None,
    callback: Callback | None = None,
) -> Solution:
    """Invert the crops ``target`` [N,3,R,R] in [-1,1]; ``weights`` [N,1,R,R] in [0,1] says what of them counts.

    ``space`` spares measuring the generator's again.

    ``method`` is one that `choose_method` returned. Every photo comes out as it would alone.
    """
    generator = model.generator
    refined = config.weight_steps(method)
    steps = config.total_steps(method) - refined
    count = len(target)
    if method == "encoder" and not refined:
        return Solution(encode_each(generator, model.encoder, target, feedback=config.feedback), {}, [0] * count)
    objective = Objective.build(target, config=config, perception=judge_of(model), weights=weights)
    maps = NoiseMaps.of(generator.synthesis)
    noise = maps.stored(generator.synthesis).to(target.device).repeat(count, 1)
    if method == "encoder":
        ws, taken, found = (
            encode_each(generator, model.encoder, target, feedback=config.feedback),
            torch.zeros(count),
            {},
        )
    else:
        descent = Descent(generator, objective, space or LatentSpace.measure(generator), maps, config)
        total = steps + refined
        ws, noise, taken = _descend(model, target, descent, noise, method, (steps, total), seeds, callback)
        found = maps.unpack(noise) if config.optimize_noise and not config.seeks_pivot(method) else {}
    deltas: list[WeightDelta] = []
    if refined:
        stretch = Stretch("weights", steps, refined, steps + refined, count)
        deltas = [
            refine_weights(
                generator, objective.take(row), ws[row], maps.unpack(noise[row]), stretch, config, callback, row
            )
            for row in torch.arange(count).split(1)
        ]
    return Solution(ws, found, [int(n) + refined for n in taken], deltas)


def _descend(
    model: Any,
    target: Tensor,
    descent: Descent,
    noise: Tensor,
    method: str,
    extent: tuple[int, int],
    seeds: Sequence[int],
    callback: Callback | None,
) -> tuple[Tensor, Tensor, Tensor]:
    generator, config = model.generator, descent.config
    steps, total = extent
    shape = (len(target), generator.num_ws, generator.w_dim)
    first, count = 0, len(target)
    if method == "hybrid" or config.start == "encoder":
        start = encode_each(generator, model.require("encoder"), target, feedback=config.feedback)
    else:
        start = descent.space.center.expand(shape)
    pivot = config.seeks_pivot(method)
    if pivot:
        descent = Descent(generator, descent.objective, descent.space.within(), descent.maps, config)
    u = torch.cat([descent.space.from_ws(row) for row in start.split(1)])
    if pivot or method == "optimize":
        u = u.mean(dim=1, keepdim=True)
    if method == "optimize":
        first = round(config.w_share * steps)
        u, _, _ = descent.run(u, noise, Stretch("w", 0, first, total, count), seeds=seeds, callback=callback)
        u = u.expand(*shape[:2], -1).contiguous()
    stretch = Stretch("pivot" if pivot else "w+", first, steps - first, total, count)
    found, found_noise, taken = descent.run(u, noise, stretch, seeds=seeds, callback=callback)
    with torch.no_grad():
        better = _loss(descent, found, found_noise) < _loss(descent, u, noise)
    ws = descent.space.to_ws(torch.where(better[:, None, None], found, u)).expand(shape).contiguous()
    return ws, torch.where(better[:, None], found_noise, noise), taken + first


def _loss(descent: Descent, u: Tensor, noise: Tensor) -> Tensor:
    return descent.objective.total(descent.objective(descent.render(u, noise)))
