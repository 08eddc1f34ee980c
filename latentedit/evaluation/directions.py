"""How good a direction is: measured on latents that it was not fitted on.

Legend: ``N`` latents, ``P`` points of the calibration curve.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from latentedit.attributes import PROBABILITY, canonical, get_unit
from latentedit.directions.direction import Direction, OutOfRangeWarning
from latentedit.directions.fitting.config import FitConfig
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.fitting.probe import LeakageMeter, Probe, score_spreads
from latentedit.directions.fitting.svm import Hyperplane, accuracy, choose_ends, is_binary
from latentedit.editing import edit
from latentedit.errors import DirectionError
from latentedit.images import to_pil
from latentedit.models import Model

ASKED = {"years": 15.0, "degrees": 10.0}
"""Changes that are asked for; of other units, one span (see `attributes.Unit`)."""


@dataclass(frozen=True)
class Amounts:
    """What came of asking for ``amount`` (a change, or a target score) on ``count`` faces.

    ``mean`` and ``deviation`` of the change (of the score, for targets), the share of ``success`` (within half the
    unit's span of the change; on the right side of one half for targets), and the mean ``identity`` distance to the
    unedited face.
    """

    amount: float
    count: int
    mean: float
    deviation: float
    success: float
    identity: float


@dataclass(frozen=True)
class Evaluation:
    """Figures of one direction; `curve` holds distances and quartiles of the measured score, [P] each."""

    name: str
    unit: str
    accuracy: float | None
    accuracy_ends: float
    accuracy_all: float
    leakage: dict[str, float]
    identity: float
    curve: dict[str, list[float]]
    calibrated: Amounts | None
    corrected: Amounts | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def score_of(direction: Direction) -> str:
    """The canonical attribute that ``direction`` changes."""
    return canonical(str(direction.settings.get("score") or direction.name))


def evaluate_direction(
    model: Model,
    direction: Direction,
    labelled: LabelledLatents,
    *,
    probes: int = 48,
    points: int = 13,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure ``direction`` on ``labelled`` latents of ``model``, of which ``probes`` are moved and rendered.

    What amounts come to is measured of `latentedit.edit` itself, with and without its own verification.

    Raises:
        DirectionError: the perception network does not know the attribute.
        ModelError: the model has no perception network.
    """
    key = score_of(direction)
    if key not in labelled.scores:
        raise DirectionError(
            f"Nothing measures {direction.name!r}: it is no attribute of the perception network.",
            f"Known: {', '.join(labelled.scores)}.",
        )
    probe = Probe(model.generator, model.require("perception"), progress=progress)
    chosen = np.random.default_rng(seed).permutation(len(labelled))[:probes]
    ws = probe.spread_ws(labelled.w[chosen])
    step, grid = _grid(direction, ws, points)
    spreads = score_spreads(labelled.scores, labelled.units)
    leakage = LeakageMeter(probe, ws, own=key, spreads=spreads).measure(direction, step)
    ends, every = _accuracies(probe, direction, labelled, key, seed)
    plain, corrected = _amounts(model, probe, direction, ws, key)
    ratios = sorted(((leakage.ratio(name), name) for name in leakage.others), reverse=True)
    return Evaluation(
        name=direction.name,
        unit=labelled.units.get(key, direction.unit),
        accuracy=direction.accuracy,
        accuracy_ends=ends,
        accuracy_all=every,
        leakage={name: round(ratio, 4) for ratio, name in ratios},
        identity=leakage.identity,
        curve=_curve(probe, direction, ws, key, grid),
        calibrated=plain,
        corrected=corrected,
    )


def strip(probe: Probe, direction: Direction, ws: Tensor, amounts: list[float]) -> list[list[Image]]:
    """Pictures of each of ``ws`` [N, L, w_dim] moved by ``amounts`` spreads of the direction (see `spread_of`)."""
    spread = spread_of(direction, ws)
    columns = [to_pil(probe.images(ws + direction.displacement(ws, amount * spread))) for amount in amounts]
    return [[column[row] for column in columns] for row in range(len(ws))]


def spread_of(direction: Direction, ws: Tensor) -> float:
    """Distance of one step of a strip: the spread among samples, where the direction knows it, else 1.

    A conditioned direction crosses fewer differences between samples than its machine's normal; its step is the one
    that was measured to make a typical edit, halved.
    """
    step = direction.metrics.get("step")
    return float(step) / 1.5 if step else float(direction.metrics.get("spread") or 1.0)


def _grid(direction: Direction, ws: Tensor, points: int) -> tuple[float, np.ndarray]:
    centre = float(direction.distance(ws).mean())
    step = float(direction.metrics.get("step") or 2 * spread_of(direction, ws))
    low, high = centre - 2 * step, centre + 2 * step
    if direction.calibration is not None:
        low, high = direction.calibration.distances[0], direction.calibration.distances[-1]
    return step, np.linspace(low, high, points)


def _curve(probe: Probe, direction: Direction, ws: Tensor, key: str, grid: np.ndarray) -> dict[str, list[float]]:
    at = direction.distance(ws)
    scores = [probe.scores(ws + direction.displacement(ws, float(d) - at))[key] for d in grid]
    low, middle, high = np.quantile(np.stack(scores), (0.25, 0.5, 0.75), axis=1)
    return {"distance": grid.tolist(), "low": low.tolist(), "median": middle.tolist(), "high": high.tolist()}


def _accuracies(
    probe: Probe, direction: Direction, labelled: LabelledLatents, key: str, seed: int
) -> tuple[float, float]:
    """Balanced accuracy of the direction's own hyperplane: at both ends of the score, and on all latents."""
    values = np.asarray(labelled.scores[key], np.float64)
    distances = direction.distance(probe.spread_ws(labelled.w)).double().cpu().numpy()[:, None]
    plane = Hyperplane(np.ones(1), 0.0, 0.0, "given")
    soft = direction.unit == PROBABILITY and not is_binary(values)
    ends = choose_ends(values, FitConfig(seed=seed, minimum=2), rare_above=0.5 if soft else None)
    high = np.concatenate([ends.train_high, ends.held_high])
    low = np.concatenate([ends.train_low, ends.held_low])
    halfway = 0.5 if soft else (values[high].mean() + values[low].mean()) / 2
    every = accuracy(plane, distances, np.nonzero(values > halfway)[0], np.nonzero(values <= halfway)[0])
    return accuracy(plane, distances, high, low), every


def _amounts(
    model: Model, probe: Probe, direction: Direction, ws: Tensor, key: str
) -> tuple[Amounts | None, Amounts | None]:
    """What asking `edit` for an amount comes to: by the calibration alone, and verified."""
    if direction.calibration is None:
        return None, None
    start = torch.from_numpy(probe.scores(ws)[key]).to(ws)
    if direction.is_target:  # towards the side that the face is not on
        amount, chosen = 0.9, start < 0.5
        if int(chosen.sum()) < 2:
            amount, chosen = 0.1, start >= 0.5
        ws, start = ws[chosen], start[chosen]
    else:
        amount = ASKED.get(direction.unit, get_unit(direction.unit).span)
    if len(ws) == 0:
        return None, None

    wanted: dict[str, Any] = {key: amount}

    def asked(verify: bool) -> Amounts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfRangeWarning)
            edited = edit(ws, model=model, directions={key: direction}, verify=verify, **wanted)
        return _came_to(probe, direction, amount, key, ws, edited.ws)

    return asked(verify=False), asked(verify=True)


def _came_to(probe: Probe, direction: Direction, amount: float, key: str, before: Tensor, after: Tensor) -> Amounts:
    start, end = probe.scores(before)[key], probe.scores(after)[key]
    result = end if direction.is_target else end - start
    if direction.is_target:
        good = result > 0.5 if amount > 0.5 else result < 0.5
    else:
        good = np.abs(result - amount) <= get_unit(direction.unit).span / 2
    identity = probe.compare(before, after)[1]
    deviation = float(result.std(ddof=1)) if len(result) > 1 else 0.0
    return Amounts(amount, len(result), float(result.mean()), deviation, float(good.mean()), float(identity.mean()))
