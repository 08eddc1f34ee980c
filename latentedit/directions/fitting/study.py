"""Measurements about one generator that all attributes share, and what each direction is made of by them.

Legend: ``N`` latents, ``L`` layers, ``D`` = w_dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.direction import PROBABILITY, Direction
from latentedit.directions.fitting.calibration import Calibration, calibrate
from latentedit.directions.fitting.conditioning import Conditions, choose_conditions
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.fitting.layer_choice import choose_layers
from latentedit.directions.fitting.light import LIGHT, WORN
from latentedit.directions.fitting.probe import Leakage, LeakageMeter, Probe, score_spreads
from latentedit.directions.fitting.regression import Geometry, linear_functional
from latentedit.directions.fitting.svm import Hyperplane, accuracy, choose_ends, is_binary
from latentedit.errors import DirectionError
from latentedit.latents import layer_indices

if TYPE_CHECKING:
    from latentedit.directions.fitting.pipeline import ProcedureConfig


KIN = (frozenset({"makeup", "lipstick"}), frozenset({"age", "young", "gray_hair"}))
"""Attributes of which one is part of the other: they are not held still against each other."""


_LIGHT_SHARE = 1 / 3  # of its spread: pictures differ in light far more than one may differ from itself
_REACH = 5.5  # standard deviations of the samples along a direction
_STRAIN = 0.01  # price of one standard deviation of the latents, per spread of the own score


@dataclass(frozen=True)
class Candidate:
    """One way to move: the conditioned ``direction``, what it was conditioned on, and what it does at ``step``."""

    direction: Direction
    way: str
    names: tuple[str, ...]
    step: float
    before: Leakage
    after: Leakage


class Study:
    """Completes plain directions of one labelled set; ``keys`` maps the names of directions to their scores."""

    def __init__(
        self, probe: Probe, labelled: LabelledLatents, keys: Mapping[str, str], config: ProcedureConfig
    ) -> None:
        self.probe, self.labelled, self.keys, self.config = probe, labelled, dict(keys), config
        chosen = np.random.default_rng(config.seed).permutation(len(labelled))[: config.probes]
        self.ws = probe.spread_ws(labelled.w[chosen])
        self.geometry = Geometry.of(labelled.w)
        known = probe.scores(self.ws[:1])
        spreads = score_spreads(dict(labelled.scores), dict(labelled.units))
        self.spreads = {
            name: spreads[key] * (_LIGHT_SHARE if key in LIGHT else 1)
            for name, key in self.keys.items()
            if key in known
        }
        self.functionals = {name: self._functional(key) for name, key in self.keys.items() if key in known}

    def _functional(self, key: str) -> np.ndarray:
        unit = self.labelled.units.get(key, "")
        return linear_functional(self.labelled.w, self.labelled.scores[key], unit, seed=self.config.seed)[0]

    def complete(self, plain: Direction) -> Direction:
        """Choose the way to move, condition, restrict to layers, and calibrate the plain direction of a machine.

        A direction of labels that the perception network does not know is returned as it is.

        Raises:
            DirectionError: moving along it does not raise the score.
        """
        if plain.name not in self.spreads:
            return plain
        own = self.keys[plain.name]
        watched = {self.keys[name]: spread for name, spread in self.spreads.items() if not _kin(own, self.keys[name])}
        meter = LeakageMeter(self.probe, self.ws, own=own, spreads=watched)
        ways = ("normal", "pattern") if self.config.way == "auto" else (self.config.way,)
        candidates = [self._candidate(meter, plain, way) for way in ways]
        best = min(candidates, key=self._price)
        direction = self._recentred(best.direction, plain)
        direction, leakage = self._restrict(meter, direction, best)
        half = 3 * best.step
        if direction.unit != PROBABILITY:  # that ends by itself; years and degrees go on while faces fall apart
            half = min(half, _REACH * float(direction.metrics["spread"]))
        calibration = calibrate_by_moving(self.probe, direction, self.ws, score=self.keys[plain.name], half=half)
        settings = {**direction.settings, "way": best.way, "conditioned_on": sorted(best.names)}
        metrics = {**direction.metrics, **self._metrics(plain.name, best, leakage)}
        return direction.with_(calibration=calibration, svm_normal=plain.normal, metrics=metrics, settings=settings)

    def _candidate(self, meter: LeakageMeter, plain: Direction, way: str) -> Candidate:
        normal = plain.normal.double().numpy()
        if way == "pattern":
            normal = self.geometry.pattern(self.functionals[plain.name])
        start = plain.with_(normal=torch.from_numpy(normal))
        spread = float(np.sqrt(normal @ self.geometry.covariance @ normal))
        step, before = typical_step(meter, start, spread)
        conditions = Conditions(
            {self.keys[name]: functional for name, functional in self.functionals.items()},
            own=meter.own,
            metric=self.geometry.covariance if way == "pattern" else None,
            tolerance=self.config.tolerance,
        )
        if self.config.condition == "auto":
            chosen = choose_conditions(meter, start, step, conditions)
            names = tuple(name for name, key in self.keys.items() if key in chosen.names)
            changed = start.with_(normal=torch.from_numpy(chosen.normal))
            return Candidate(changed, way, names, chosen.after.step, before, chosen.after)
        names = tuple(name for name in self.config.condition if name != plain.name)
        missing = [name for name in names if name not in self.functionals]
        if missing:
            raise DirectionError(f"Unknown attribute {missing[0]!r} to condition on.",
                                 f"Known: {', '.join(self.functionals)}.")  # fmt: skip
        projected, along = conditions.project(normal, tuple(self.keys[name] for name in names))
        if along <= 0.05:
            raise DirectionError(
                f"Nothing is left of {plain.name!r} once {', '.join(names)} are projected out.", "Project out fewer."
            )
        changed = start.with_(normal=torch.from_numpy(projected))
        return Candidate(changed, way, names, step / along, before, meter.measure(changed, step / along))

    def _price(self, candidate: Candidate) -> float:
        """What a way to move costs: leakage, identity, and how unlikely the latents are that it leads to."""
        move = 2 * candidate.step * candidate.direction.normal.double().numpy()
        unlikely = self.geometry.strain(move) / max(abs(candidate.after.own), 1e-6)
        return candidate.after.price(self.config.tolerance) + _STRAIN * unlikely

    def _recentred(self, direction: Direction, plain: Direction) -> Direction:
        """The hyperplane half-way between the ends along a new normal, and how well that one separates."""
        values = np.asarray(self.labelled.scores[self.keys[plain.name]], np.float64)
        soft = plain.unit == PROBABILITY and not is_binary(values)
        ends = choose_ends(values, self.config.fit, rare_above=0.5 if soft else None)
        normal = direction.normal.double().numpy()
        along = self.labelled.w @ normal.astype(np.float32)
        middle = float(along[ends.train_high].mean() + along[ends.train_low].mean()) / 2
        plane = Hyperplane(normal, -middle, 0.0, "projected")
        metrics = {
            **direction.metrics,
            "accuracy_conditioned": accuracy(plane, self.labelled.w, ends.held_high, ends.held_low),
            "cosine_to_svm": float(plain.normal.double().numpy() @ normal),
            "spread": float(along.std()),
        }
        return direction.with_(intercept=-middle, metrics=metrics)

    def _restrict(self, meter: LeakageMeter, direction: Direction, best: Candidate) -> tuple[Direction, Leakage]:
        resolutions = self.probe.generator.synthesis.layer_resolutions
        if self.config.layers == "auto":
            few = LeakageMeter(self.probe, self.ws[: max(len(self.ws) // 2, 1)], own=meter.own, spreads=meter.spreads)
            layers = choose_layers(few, direction, resolutions, best.step, tolerance=self.config.tolerance)
        else:
            layers = None if self.config.layers is None else layer_indices(self.config.layers, resolutions)
        if layers is None:
            return direction, best.after
        limited = direction.with_(layers=layers)
        return limited, meter.measure(limited, best.step)

    def _metrics(self, name: str, best: Candidate, leakage: Leakage) -> dict[str, object]:
        names = {key: other for other, key in self.keys.items()}
        own = self.spreads[name]
        return {
            "step": best.step,
            "effect": leakage.own * own,
            "effect_before": best.before.own * own,
            "identity": leakage.identity,
            "strain": self.geometry.strain(2 * best.step * best.direction.normal.double().numpy()),
            "leakage": {names[key]: round(leakage.ratio(key), 4) for key in leakage.others},
            "leakage_before": {names[key]: round(best.before.ratio(key), 4) for key in best.before.others},
        }


def _kin(a: str, b: str) -> bool:
    return a != b and (any({a, b} <= group for group in KIN) or (a in WORN and b in LIGHT))


def typical_step(meter: LeakageMeter, direction: Direction, spread: float) -> tuple[float, Leakage]:
    """A distance each way that makes a typical edit (half the range of a probability, or a spread of the score), found
    among multiples of ``spread``, the standard deviation of the samples along the direction.

    Raises:
        DirectionError: the score does not rise.
    """
    enough = 0.5 / meter.spreads[meter.own] if direction.unit == PROBABILITY else 2.0
    best: Leakage | None = None
    for factor in (1.0, 1.75, 3.0, 4.5):
        leakage = meter.measure(direction, factor * spread)
        if best is None or leakage.own > 1.1 * best.own:
            best = leakage
        if best.own >= enough:
            break
    if best is None or best.own <= 0:
        raise DirectionError(
            f"Moving along the direction {direction.name!r} does not raise its score.",
            "Fit it on more latents, or on labels that the pictures bear out.",
        )
    return best.step, best


def calibrate_by_moving(
    probe: Probe, direction: Direction, ws: Tensor, *, score: str, half: float, points: int = 17
) -> Calibration:
    """Set each of ``ws`` [N, L, w_dim] to the same distances, render, and take the median score at each.

    The distances lie within ``half`` of the latents' mean. Only the stretch from the lowest median below the mean to
    the highest above it counts: further out pictures fall apart, and their scores turn back.

    Raises:
        DirectionError: the median does not rise along the direction.
    """
    at = direction.distance(ws)
    centre = float(at.mean())
    grid = np.linspace(centre - half, centre + half, points)
    medians = np.array([
        np.median(probe.scores(ws + direction.displacement(ws, float(distance) - at))[score]) for distance in grid
    ])  # fmt: skip
    middle = points // 2
    bottom = middle - int(medians[middle::-1].argmin())
    top = middle + int(medians[middle:].argmax())
    if medians[top] <= medians[bottom]:
        raise DirectionError(
            f"The score {score!r} does not rise along the direction {direction.name!r}.", "Fit it on more latents."
        )
    inside = slice(bottom, top + 1)
    return calibrate(
        grid[inside], medians[inside], bounded=direction.unit == PROBABILITY, knots=points, method="moving"
    )
