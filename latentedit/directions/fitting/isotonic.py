"""Calibrations from pairs of distance and score: a monotone curve by isotonic regression.

Legend: ``N`` latents, ``K`` knots.
"""

from __future__ import annotations

import numpy as np

from latentedit.directions.calibration import Calibration
from latentedit.errors import DirectionError


def calibrate(
    distances: np.ndarray,
    scores: np.ndarray,
    *,
    bounded: bool,
    knots: int = 15,
    method: str = "labels",
    weights: np.ndarray | None = None,
) -> Calibration:
    """Fit a calibration to pairs of distance [N] and score [N] by isotonic regression (least squares, monotone).

    Many pairs are first condensed to ``knots`` bins of equal counts. Flat stretches at both ends are cut to where the
    score stops changing, so that "the highest score" means the nearest distance that gives it.

    Raises:
        DirectionError: fewer than two different distances, or scores that do not rise with the distance.
    """
    from sklearn.isotonic import IsotonicRegression

    distances, scores = np.asarray(distances, np.float64), np.asarray(scores, np.float64)
    weights = np.ones_like(distances) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(distances, kind="stable")
    bins = [part for part in np.array_split(order, min(knots, len(order))) if len(part)]
    x = np.array([np.average(distances[part], weights=weights[part]) for part in bins])
    y = np.array([np.average(scores[part], weights=weights[part]) for part in bins])
    mass = np.array([weights[part].sum() for part in bins])
    fitted = IsotonicRegression().fit_transform(x, y, sample_weight=mass)
    total = fitted[-1] - fitted[0] if len(fitted) else 0.0
    if not total > 0:
        raise DirectionError(
            "The scores do not rise with the distance along the direction, so that it has no calibration.",
            "Use more latents, or labels that differ more.",
        )
    first = int(np.nonzero(fitted <= fitted[0] + 0.005 * total)[0][-1])
    last = int(np.nonzero(fitted >= fitted[-1] - 0.005 * total)[0][0])
    x, y = _strict(x[first : last + 1], fitted[first : last + 1])
    return Calibration(tuple(x), tuple(y), bounded=bounded, method=method)


def _strict(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace every flat step of a non-decreasing curve by its middle, so that the curve has an inverse."""
    keep_x, keep_y = [], []
    for value in np.unique(y):
        same = x[y == value]
        at_edge = value in (y[0], y[-1])
        keep_x.append((same[-1] if value == y[0] else same[0]) if at_edge else same.mean())
        keep_y.append(value)
    xs, ys = np.array(keep_x), np.array(keep_y)
    rising = np.concatenate([[True], np.diff(xs) > 1e-9])
    return xs[rising], ys[rising]
