"""`fit_direction`: labelled latents in, a calibrated `Direction` out. Nothing is rendered here.

Legend: ``N`` latents, ``L`` layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentedit.attributes import PROBABILITY, unit_of
from latentedit.directions.calibration import Calibration
from latentedit.directions.direction import Direction
from latentedit.directions.fitting.config import FitConfig
from latentedit.directions.fitting.isotonic import calibrate
from latentedit.directions.fitting.svm import Ends, Hyperplane, accuracy, choose_ends, is_binary, separate
from latentedit.errors import DirectionError, LatentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from latentedit.networks import StyleGenerator

__all__ = ["FitConfig", "fit_direction"]


def fit_direction(
    ws: Tensor | np.ndarray,
    labels: ArrayLike,
    *,
    name: str,
    unit: str | None = None,
    generator: StyleGenerator | str | None = None,
    config: FitConfig | None = None,
) -> Direction:
    """Fit the direction that separates ``ws`` by ``labels``.

    Args:
        ws: latents [N, L, w_dim] (their mean over the layers counts) or [N, w_dim].
        labels: [N] booleans, two values, or numbers (their upper against their lower end); NaN where unknown.
        name: what the direction is called.
        unit: "probability", "years", "degrees", or another word; None: "probability" for binary labels and those in
            [0,1], known names (age, yaw, ...) their own, else "value".
        generator: the generator (or its fingerprint) that the latents belong to; None leaves it open.
        config: shares, split, solver.

    Returns:
        A direction with its held-out accuracy, calibrated on the latents that were not trained on. The calibration
        says which labels go with which distances among ``ws``; `fit_attributes` measures what moving along it does.

    Raises:
        LatentError: latents of another shape, or not finite.
        DirectionError: labels that do not fit the latents, do not differ, or are too few.
    """
    config = config or FitConfig()
    w = as_w(ws)
    values = as_labels(labels, len(w), name)
    unit = unit or _unit(name, values)
    ends = choose_ends(values, config, rare_above=0.5 if unit == PROBABILITY and not is_binary(values) else None)
    plane = separate(w, values, ends, config)
    held = accuracy(plane, w, ends.held_high, ends.held_low)
    distances = plane.distance(w).astype(np.float64)
    return Direction(
        name=name,
        normal=torch.from_numpy(plane.normal),
        intercept=plane.intercept,
        unit=unit,
        calibration=_calibrate(distances, values, ends, bounded=unit == PROBABILITY, config=config),
        accuracy=held,
        fingerprint=fingerprint_of(generator),
        metrics={
            "accuracy_train": accuracy(plane, w, ends.train_high, ends.train_low),
            "accuracy_rest": _rest_accuracy(plane, w, values, ends, unit),
            "spread": float(distances.std()),
        },
        settings={
            "share": config.share,
            "seed": config.seed,
            "penalty": plane.penalty,
            "solver": plane.solver,
            "latents": len(w),
            "labelled": int(np.isfinite(values).sum()),
            "trained": len(ends.train),
            "held_out": len(ends.held),
        },
    )


def as_w(ws: Tensor | np.ndarray) -> np.ndarray:
    """``ws`` as float32 [N, w_dim]: the mean over layers, if there are any.

    Raises:
        LatentError: another shape, or values that are not finite.
    """
    array = ws.detach().cpu().numpy() if isinstance(ws, Tensor) else np.asarray(ws)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise LatentError(f"Latents have shape {list(array.shape)}.", "Give [N, w_dim] or [N, layers, w_dim].")
    w = array.mean(1, dtype=np.float32) if array.ndim == 3 else array.astype(np.float32, copy=False)
    finite = np.isfinite(w).all(1)
    if not finite.all():
        raise LatentError(
            f"Latent {int(np.nonzero(~finite)[0][0])} holds NaN or infinite values.", "Remove it, or invert it again."
        )
    return w


def as_labels(labels: ArrayLike, count: int, name: str) -> np.ndarray:
    """``labels`` as float64 [count].

    Raises:
        DirectionError: not numbers, or not one per latent.
    """
    try:
        given: Any = labels
        values = np.asarray(given.cpu() if isinstance(given, Tensor) else given, np.float64)
    except (TypeError, ValueError) as error:
        problem = f"The labels of {name!r} are not numbers: {error}."
        raise DirectionError(problem, "Give numbers or booleans.") from error
    if values.shape != (count,):
        raise DirectionError(
            f"The labels of {name!r} have shape {list(values.shape)} for {count} latents.", "Give one label per latent."
        )
    return np.where(np.isinf(values), np.nan, values)


def _unit(name: str, values: np.ndarray) -> str:
    if is_binary(values):
        return PROBABILITY
    known = unit_of(name)
    if known is not None and known != PROBABILITY:
        return known
    finite = values[np.isfinite(values)]
    return PROBABILITY if len(finite) and finite.min() >= 0 and finite.max() <= 1 else "value"


def _rest_accuracy(plane: Hyperplane, w: np.ndarray, values: np.ndarray, ends: Ends, unit: str) -> float | None:
    """Balanced accuracy on all labelled latents that decided nothing, the undecided middle included."""
    rest = np.isfinite(values)
    rest[ends.train] = rest[ends.held] = rest[ends.between] = False
    if not rest.any():
        return None
    halfway = (values[ends.train_high].mean() + values[ends.train_low].mean()) / 2
    threshold = 0.5 if unit == PROBABILITY and not is_binary(values) else halfway
    indices = np.nonzero(rest)[0]
    high, low = indices[values[indices] > threshold], indices[values[indices] <= threshold]
    return accuracy(plane, w, high, low)


def _calibrate(
    distances: np.ndarray, values: np.ndarray, ends: Ends, *, bounded: bool, config: FitConfig
) -> Calibration | None:
    """Fit on what was not trained on: the machine is surer of its training latents than it should be.

    The held-out part of the ends stands for the whole ends, so it is weighted up by the share that is missing.
    """
    weights = np.isfinite(values).astype(np.float64)
    if is_binary(values):  # as many of the commoner class were chosen as of the rarer one: each class has its own share
        for held, train in ((ends.held_high, ends.train_high), (ends.held_low, ends.train_low)):
            same = (values == values[held[0]]) if len(held) else np.zeros(len(values), bool)
            weights[same] *= same.sum() / max(same.sum() - len(train), 1)
        finite = values[np.isfinite(values)]
        values = (values - finite.min()) / (finite.max() - finite.min())
    else:
        weights[ends.held] *= 1 / (1 - config.train)
    weights[ends.train] = 0
    used = weights > 0
    try:
        return calibrate(distances[used], values[used], bounded=bounded, weights=weights[used])
    except DirectionError:
        return None  # labels unrelated to the latents: the accuracy says so


def fingerprint_of(generator: StyleGenerator | str | None) -> str | None:
    """The fingerprint of ``generator``, which may be one already; None for None."""
    if generator is None or isinstance(generator, str):
        return generator
    from latentedit.networks import fingerprint

    return fingerprint(generator)
