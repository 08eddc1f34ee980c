"""Ways to move that come into question for an attribute, each conditioned, and what each costs.

Legend: ``D`` = w_dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from latentedit.directions.direction import Direction
from latentedit.directions.fitting.conditioning import Conditions, choose_conditions
from latentedit.directions.fitting.moving import typical_step
from latentedit.directions.fitting.probe import Leakage, LeakageMeter
from latentedit.directions.fitting.study import Study
from latentedit.errors import DirectionError

STRAIN = 0.01
"""Price of one standard deviation of the latents, per spread of the own score: among ways that leak alike, the one
whose latents are likelier wins."""


@dataclass(frozen=True)
class Candidate:
    """One way to move: the conditioned ``direction``, what it was conditioned on, and what it does at ``step``."""

    direction: Direction
    way: str
    names: tuple[str, ...]
    step: float
    before: Leakage
    after: Leakage


def best_candidate(study: Study, meter: LeakageMeter, plain: Direction) -> Candidate:
    """The cheapest of the ways that the configuration allows to move along ``plain``, a machine's direction.

    Raises:
        DirectionError: moving does not raise the score, or nothing is left after conditioning.
    """
    ways = ("normal", "pattern") if study.config.way == "auto" else (study.config.way,)
    return min((_candidate(study, meter, plain, way) for way in ways), key=lambda found: _price(study, found))


def _candidate(study: Study, meter: LeakageMeter, plain: Direction, way: str) -> Candidate:
    normal = plain.normal.double().numpy()
    if way == "pattern":
        normal = study.geometry.pattern(study.functionals[plain.name])
    start = plain.with_(normal=torch.from_numpy(normal))
    spread = float(np.sqrt(normal @ study.geometry.covariance @ normal))
    step, before = typical_step(meter, start, spread)
    conditions = Conditions(
        {study.keys[name]: functional for name, functional in study.functionals.items()},
        own=meter.own,
        metric=study.geometry.covariance if way == "pattern" else None,
        tolerance=study.config.tolerance,
    )
    if study.config.condition == "auto":
        chosen = choose_conditions(meter, start, step, conditions)
        names = tuple(name for name, key in study.keys.items() if key in chosen.names)
        changed = start.with_(normal=torch.from_numpy(chosen.normal))
        return Candidate(changed, way, names, chosen.after.step, before, chosen.after)
    names = tuple(name for name in study.config.condition if name != plain.name)
    projected, along = _projected(study, conditions, plain.name, normal, names)
    changed = start.with_(normal=torch.from_numpy(projected))
    return Candidate(changed, way, names, step / along, before, meter.measure(changed, step / along))


def _projected(
    study: Study, conditions: Conditions, own: str, normal: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, float]:
    """``normal`` [D] without the attributes that the configuration names, and the share of its effect that is left."""
    missing = [name for name in names if name not in study.functionals]
    if missing:
        raise DirectionError(
            f"Unknown attribute {missing[0]!r} to condition on.", f"Known: {', '.join(study.functionals)}."
        )
    projected, along = conditions.project(normal, tuple(study.keys[name] for name in names))
    if along <= 0.05:
        raise DirectionError(
            f"Nothing is left of {own!r} once {', '.join(names)} are projected out.", "Project out fewer."
        )
    return projected, along


def _price(study: Study, candidate: Candidate) -> float:
    """What a way to move costs: leakage, identity, and how unlikely the latents are that it leads to."""
    move = 2 * candidate.step * candidate.direction.normal.double().numpy()
    unlikely = study.geometry.strain(move) / max(abs(candidate.after.own), 1e-6)
    return candidate.after.price(study.config.tolerance) + STRAIN * unlikely
