"""Conditional directions: keep other attributes still by projecting them out, as far as measurement asks for it.

Shen et al. 2020 ("Interpreting the Latent Space of GANs for Semantic Face Editing"), eq. 6: ``n1 - (n1 . n2) n2`` moves
along the first attribute without crossing the second's hyperplane; for several, their span is projected out.
Legend: ``D`` dimension of w.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from latentedit.directions.direction import Direction
from latentedit.directions.fitting.probe import Leakage, LeakageMeter
from latentedit.directions.fitting.regression import project_out
from latentedit.errors import DirectionError


def condition(direction: Direction, others: Mapping[str, Direction]) -> Direction:
    """``direction`` with the normals of ``others`` projected out; without calibration, which no longer holds.

    `fit_attributes` chooses the others by measurement and calibrates the result.

    Raises:
        DirectionError: a direction per layer among them, or nothing is left.
    """
    if direction.normal.ndim != 1 or any(other.normal.ndim != 1 for other in others.values()):
        raise DirectionError("Directions with one normal per layer cannot be conditioned.", "Fit them in W.")
    normal = project_out(direction.normal.double().numpy(), [o.normal.double().numpy() for o in others.values()])
    settings = {**direction.settings, "conditioned_on": sorted(others)}
    return direction.with_(normal=torch.from_numpy(normal), calibration=None, settings=settings)


def cosine_table(directions: Mapping[str, Direction]) -> dict[str, dict[str, float]]:
    """|cos| between every two of ``directions`` (those with one normal in W)."""
    flat = {name: d.normal.double() for name, d in directions.items() if d.normal.ndim == 1}
    return {a: {b: round(float((u @ v).abs()), 4) for b, v in flat.items() if b != a} for a, u in flat.items()}


@dataclass(frozen=True)
class Conditioned:
    """A conditioned normal [D], the names that were projected out, and the leakage before and after."""

    normal: np.ndarray
    names: tuple[str, ...]
    before: Leakage
    after: Leakage


@dataclass(frozen=True)
class Conditions:
    """What may be projected out, and how.

    ``functionals`` are the gradients [D] of the scores by name, that of the own score under ``own``; ``metric`` as in
    `project_out`. A leak below ``tolerance`` is let be; a projection must leave ``least`` of the effect on the own
    functional per distance, and ``keep`` of the own effect at a step that is longer in proportion.
    """

    functionals: Mapping[str, np.ndarray]
    own: str
    metric: np.ndarray | None = None
    tolerance: float = 0.15
    least: float = 0.5
    keep: float = 0.7

    def project(self, start: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, float]:
        """``start`` without ``names``, and the share of its effect on the own functional that is left per distance."""
        normal = project_out(start, [self.functionals[name] for name in names], self.metric)
        along = float(self.functionals[self.own] @ normal) / float(self.functionals[self.own] @ start)
        return normal, along


def choose_conditions(meter: LeakageMeter, direction: Direction, step: float, conditions: Conditions) -> Conditioned:
    """Project out, one by one, the attributes that ``direction`` leaks into, as long as measurement approves.

    The worst leak beyond the tolerance is tried first. A projection stays if it lowers the leakage's cost; steps are
    lengthened by what the projection took from the own effect. One that does not help is not tried again.
    """
    start = direction.normal.double().numpy()
    tolerance, keep = conditions.tolerance, conditions.keep
    names: tuple[str, ...] = ()
    refused: set[str] = set()
    normal, before = start, meter.measure(direction, step)
    best = before
    while True:
        still_open = set(conditions.functionals) & set(best.others) - refused - set(names)
        leaks = {name: best.ratio(name) for name in sorted(still_open) if best.ratio(name) > tolerance}
        if not leaks:
            return Conditioned(normal, names, before, best)
        worst = max(leaks, key=lambda name: leaks[name])
        try:
            tried, along = conditions.project(start, (*names, worst))
        except DirectionError:
            tried, along = start, 0.0
        if along >= conditions.least:
            leakage = meter.measure(direction.with_(normal=torch.from_numpy(tried)), step / along)
            if leakage.cost(tolerance) < best.cost(tolerance) and leakage.own >= keep * before.own:
                normal, best, names = tried, leakage, (*names, worst)
                continue
        refused.add(worst)
