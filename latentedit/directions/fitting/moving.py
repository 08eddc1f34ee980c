"""What moving along a direction does to the pictures: a typical step, and the calibration that it gives.

Legend: ``N`` latents, ``L`` layers.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from latentedit.attributes import PROBABILITY
from latentedit.directions.calibration import Calibration
from latentedit.directions.direction import Direction
from latentedit.directions.fitting.isotonic import calibrate
from latentedit.directions.fitting.probe import Leakage, LeakageMeter, Probe
from latentedit.errors import DirectionError


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
