"""What the scores are made of: the linear functional of w behind each attribute, and the covariance of w.

A support vector machine separates the ends of one attribute; to hold *other* attributes still while moving, it takes
the gradients of their scores, which least squares on all labelled latents estimates better than any separation.
Legend: ``N`` latents, ``D`` = w_dim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentedit.attributes import even
from latentedit.errors import DirectionError

_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Geometry:
    """Mean [D] and covariance [D, D] of labelled latents."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, w: np.ndarray) -> Geometry:
        """The geometry of ``w`` [N, D]; the covariance keeps a thousandth of the mean variance in every direction."""
        mean = w.mean(0, dtype=np.float64)
        covariance = np.zeros((w.shape[1], w.shape[1]))
        for part in np.array_split(w, max(len(w) // 20_000, 1)):
            centred = part.astype(np.float64) - mean
            covariance += centred.T @ centred
        covariance /= max(len(w) - 1, 1)
        return cls(mean, covariance + 1e-3 * np.trace(covariance) / len(mean) * np.eye(len(mean)))

    def pattern(self, functional: np.ndarray) -> np.ndarray:
        """Unit direction along which latents that differ in ``functional`` [D] differ on average: ``cov @ functional``
        (Haufe et al. 2014, "On the interpretation of weight vectors of linear models", eq. 6). Of all moves with the
        same effect on the functional it is the likeliest one."""
        pattern = self.covariance @ functional
        return pattern / np.linalg.norm(pattern)

    def strain(self, displacement: np.ndarray) -> float:
        """Mahalanobis length of a ``displacement`` [D]: how far it goes in standard deviations of the latents."""
        return float(np.sqrt(displacement @ np.linalg.solve(self.covariance, displacement)))


def linear_functional(w: np.ndarray, scores: np.ndarray, unit: str, *, seed: int = 0) -> tuple[np.ndarray, float]:
    """Unit functional [D] whose value predicts ``scores`` [N] (NaN: unknown) best, and its held-out correlation.

    Ridge regression (Hoerl and Kennard 1970); its strength is the best of a grid on a fifth of the latents.

    Raises:
        DirectionError: fewer than 20 labelled latents, or scores that do not differ.
    """
    known = np.nonzero(np.isfinite(scores))[0]
    if len(known) < 20 or np.ptp(scores[known]) == 0:
        raise DirectionError("Too few latents are labelled, or their labels do not differ.", "Label more latents.")
    known = np.random.default_rng(seed).permutation(known)[:100_000]
    cut = round(0.8 * len(known))
    x, y = w[known].astype(np.float64), even(np.asarray(scores[known], np.float64), unit)
    mean, middle = x[:cut].mean(0), y[:cut].mean()
    inner, target = x[:cut] - mean, y[:cut] - middle
    values, vectors = np.linalg.eigh(inner.T @ inner)
    moment = vectors.T @ (inner.T @ target)
    best: tuple[float, np.ndarray] | None = None
    for ridge in _RIDGES:
        solution = vectors @ (moment / (values + ridge * values.mean()))
        predicted = (x[cut:] - mean) @ solution
        agreement = float(np.corrcoef(predicted, y[cut:])[0, 1]) if predicted.std() > 0 else 0.0
        if best is None or agreement > best[0]:
            best = (agreement, solution)
    assert best is not None
    return best[1] / np.linalg.norm(best[1]), best[0]


def project_out(
    start: np.ndarray, functionals: Sequence[np.ndarray] | Mapping[str, np.ndarray], metric: np.ndarray | None = None
) -> np.ndarray:
    """The unit vector nearest to ``start`` [D] along which none of ``functionals`` [D] changes.

    Without a ``metric`` distance is Euclidean: for one functional this is eq. 6 of Shen et al. 2020, for several the
    projection onto the complement of their span. With a covariance [D, D] as ``metric`` it is Mahalanobis' distance:
    what is taken away are the patterns of the others, so that the result stays among the latents that occur.

    Raises:
        DirectionError: ``start`` lies in the span of what is taken away, so that nothing is left.
    """
    unit = start.astype(np.float64) / np.linalg.norm(start)
    rows = list(functionals.values()) if isinstance(functionals, Mapping) else list(functionals)
    if not rows:
        return unit
    span = np.stack(rows, 1).astype(np.float64)
    span = span / np.linalg.norm(span, axis=0)
    taken = span if metric is None else metric @ span
    taken = taken / np.linalg.norm(taken, axis=0)
    left = unit - taken @ np.linalg.lstsq(span.T @ taken, span.T @ unit, rcond=1e-8)[0]
    size = np.linalg.norm(left)
    if size < 1e-3:
        raise DirectionError(
            "Nothing is left of the direction once the others are projected out.", "Condition it on fewer of them."
        )
    return left / size
