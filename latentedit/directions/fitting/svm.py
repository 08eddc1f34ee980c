"""Linear separation of labelled latents: ends of the labels, a balanced split, a support vector machine, one normal.

Legend: ``N`` latents, ``D`` dimension of w. Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face
Editing", section 3.1: attributes are separated by a hyperplane in latent space, whose unit normal is the direction.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentedit.directions.fitting.config import FitConfig
from latentedit.errors import DirectionError

_BETWEEN = 5000


@dataclass(frozen=True)
class Ends:
    """Indices of the latents at the upper and lower end of a label, each split into training and held-out ones."""

    train_high: np.ndarray
    train_low: np.ndarray
    held_high: np.ndarray
    held_low: np.ndarray
    between: np.ndarray  # not chosen, up to `_BETWEEN` of them: for choices that the held-out ones must not decide

    @property
    def train(self) -> np.ndarray:
        return np.concatenate([self.train_high, self.train_low])

    @property
    def held(self) -> np.ndarray:
        return np.concatenate([self.held_high, self.held_low])


@dataclass(frozen=True)
class Hyperplane:
    """``normal [D] . w + intercept = 0`` with a unit normal that points to the upper end; ``penalty`` is its C."""

    normal: np.ndarray
    intercept: float
    penalty: float
    solver: str

    def distance(self, w: np.ndarray) -> np.ndarray:
        """Signed distances [N] of ``w`` [N, D]."""
        return w @ self.normal.astype(w.dtype) + self.intercept


def is_binary(labels: np.ndarray) -> bool:
    """Whether the finite ones among ``labels`` take exactly two values."""
    finite = labels[np.isfinite(labels)]
    return len(finite) > 0 and bool(np.isin(finite, (finite.min(), finite.max())).all())


def choose_ends(labels: np.ndarray, config: FitConfig, *, rare_above: float | None = None) -> Ends:
    """Choose balanced ends of ``labels`` [N] (NaN: unlabelled) and split them.

    With ``rare_above`` (0.5 for probabilities) an end shrinks to the latents beyond it, but never under a tenth of
    its nominal size: an attribute that few samples have is learnt from those that have it, or come closest.

    Raises:
        DirectionError: too few labelled latents, or labels that are all equal.
    """
    labels = np.asarray(labels, np.float64)
    rng = np.random.default_rng(config.seed)
    known = rng.permutation(np.nonzero(np.isfinite(labels))[0])
    if len(known) == 0 or labels[known].min() == labels[known].max():
        raise DirectionError(
            f"The {len(known)} labels do not differ, so that there is nothing to separate.",
            "Give latents with and without the attribute.",
        )
    order = known[np.argsort(labels[known], kind="stable")]
    if is_binary(labels):
        highest = labels[order[-1]]
        high, low = known[labels[known] == highest], known[labels[known] != highest]
        size = min(len(high), len(low))
        high, low = high[:size], low[:size]
    else:
        size = min(max(round(config.share * len(order)), config.minimum), len(order) // 2)
        if rare_above is not None:
            floor = max(config.minimum, size // 10)
            rarer = min((labels[order] > rare_above).sum(), (labels[order] <= rare_above).sum())
            size = int(min(size, max(floor, rarer)))
        high, low = rng.permutation(order[-size:]), rng.permutation(order[:size])
    if size < config.minimum:
        raise DirectionError(
            f"Only {size} latents lie at the rarer end of the labels; {config.minimum} are needed.",
            "Give more labelled latents.",
        )
    cut = min(max(round(config.train * size), 1), size - 1)
    chosen = np.zeros(len(labels), bool)
    chosen[high] = chosen[low] = True
    return Ends(high[:cut], low[:cut], high[cut:], low[cut:], _some(known[~chosen[known]]))


def _some(rest: np.ndarray) -> np.ndarray:
    return rest[: min(_BETWEEN, len(rest) // 2)]


def separate(w: np.ndarray, labels: np.ndarray, ends: Ends, config: FitConfig) -> Hyperplane:
    """Train a linear support vector machine on the training ends of ``w`` [N, D] with ``labels`` [N].

    Dimensions are standardised for the solver and the result is folded back into raw coordinates.
    """
    x = w[ends.train].astype(np.float32)
    y = np.concatenate([np.ones(len(ends.train_high)), -np.ones(len(ends.train_low))])
    mean = x.mean(0, dtype=np.float64)
    variance = x.var(0, dtype=np.float64)
    # Dimensions that hardly vary would dominate the normal after folding back; they count as a hundredth of the rest.
    scale = np.sqrt(variance + (1e-2**2) * variance.mean() + 1e-24)
    x = ((x - mean) / scale).astype(np.float32 if len(x) > config.exact else np.float64)
    if len(config.penalties) == 1:
        penalty = config.penalties[0]
    elif is_binary(labels) or len(ends.between) < 50:
        penalty = _penalty_by_accuracy(x, y, config)
    else:
        others = (w[ends.between] - mean) / scale
        penalty = _penalty_by_rank(x, y, others, labels[ends.between], config)
    coefficients, offset, solver = _solve(x, y, penalty, config)
    raw = coefficients / scale
    norm = float(np.linalg.norm(raw))
    if not np.isfinite(norm) or norm == 0:
        raise DirectionError("The latents at both ends are the same, so that nothing separates them.", None)
    return Hyperplane(raw / norm, float((offset - raw @ mean) / norm), penalty, solver)


def accuracy(plane: Hyperplane, w: np.ndarray, high: np.ndarray, low: np.ndarray) -> float:
    """Balanced share of ``w[high]`` above and ``w[low]`` below the plane."""
    above = (plane.distance(w[high]) > 0).mean() if len(high) else np.nan
    below = (plane.distance(w[low]) <= 0).mean() if len(low) else np.nan
    return float(np.nanmean([above, below]))


def _penalty_by_rank(x: np.ndarray, y: np.ndarray, others: np.ndarray, labels: np.ndarray, config: FitConfig) -> float:
    """The C whose distances order ``others`` most like their labels do (Spearman)."""
    from scipy.stats import spearmanr

    chosen = np.random.default_rng(config.seed).permutation(len(y))[:10_000]
    agreement = []
    for penalty in config.penalties:
        coefficients, _, _ = _solve(x[chosen], y[chosen], penalty, config)
        rank: Any = spearmanr(others @ coefficients, labels)
        agreement.append(float(np.nan_to_num(rank[0])))
    return config.penalties[int(np.argmax(agreement))]


def _penalty_by_accuracy(x: np.ndarray, y: np.ndarray, config: FitConfig) -> float:
    """The smallest C within one standard error of the best in an inner split (Breiman et al. 1984, section 3.4.3)."""
    rng = np.random.default_rng(config.seed)
    chosen = rng.permutation(len(y))[:10_000]
    cut = max(round(0.75 * len(chosen)), 1)
    inner, outer = chosen[:cut], chosen[cut:]
    if len(np.unique(y[inner])) < 2 or len(outer) < 10:
        return config.penalties[len(config.penalties) // 2]
    rates = []
    for penalty in config.penalties:
        coefficients, offset, _ = _solve(x[inner], y[inner], penalty, config)
        rates.append((np.sign(x[outer] @ coefficients + offset) == y[outer]).mean())
    best = max(rates)
    error = np.sqrt(max(best * (1 - best), 1 / len(outer)) / len(outer))
    return next(penalty for penalty, rate in zip(config.penalties, rates, strict=True) if rate >= best - error)


def _solve(x: np.ndarray, y: np.ndarray, penalty: float, config: FitConfig) -> tuple[np.ndarray, float, str]:
    from sklearn.exceptions import ConvergenceWarning

    if len(y) <= config.exact:
        from sklearn.svm import LinearSVC

        machine: Any = LinearSVC(C=penalty, dual="auto", tol=1e-4, max_iter=5000, random_state=config.seed)
        solver = "LinearSVC"
    else:
        from sklearn.linear_model import SGDClassifier

        machine = SGDClassifier(
            loss="hinge", alpha=1 / (penalty * len(y)), max_iter=30, tol=1e-4, average=True, random_state=config.seed
        )
        solver = "SGDClassifier"
    with warnings.catch_warnings():
        # A solver that ran out of iterations gave an approximation, which the held-out accuracy judges.
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(x, y)
    return np.asarray(machine.coef_[0], np.float64), float(np.ravel(machine.intercept_)[0]), solver
