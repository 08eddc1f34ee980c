"""The monotone map between signed distance along a direction and the score of its attribute, in units.

Legend: ``N`` latents, ``K`` knots. Distances are along the unit normal, in units of ``w``. Scores are in the unit of
the attribute: years, degrees, or a probability in [0,1].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import DirectionError

# Beyond the outer knots, open-ended scores go on with the slope of the outer segments for this share of the range.
MARGIN = 0.25


@dataclass(frozen=True)
class Calibration:
    """Piecewise-linear and strictly increasing: ``scores[k]`` is reached at ``distances[k]``.

    ``bounded`` scores (probabilities) end at the outer knots: more distance gives no more score. Other scores go on
    linearly, but a distance is never looked for further out than ``MARGIN`` of the range beyond the knots, because
    nothing was measured there.
    """

    distances: tuple[float, ...]
    scores: tuple[float, ...]
    bounded: bool = False
    method: str = "labels"

    def __post_init__(self) -> None:
        object.__setattr__(self, "distances", tuple(float(value) for value in self.distances))
        object.__setattr__(self, "scores", tuple(float(value) for value in self.scores))
        same = len(self.distances) == len(self.scores)
        values = np.array([self.distances, self.scores]) if same else np.zeros((2, 0))
        if values.shape[1] < 2 or not np.isfinite(values).all() or not (np.diff(values, axis=1) > 0).all():
            raise DirectionError(
                f"A calibration needs two or more pairs that increase together, not distances {self.distances!r:.80} "
                f"with scores {self.scores!r:.80}.",
                "The file is damaged, or the labels do not change along the direction.",
            )

    @property
    def distance_limits(self) -> tuple[float, float]:
        """Distances between which a score is looked for."""
        margin = 0.0 if self.bounded else MARGIN * (self.distances[-1] - self.distances[0])
        return self.distances[0] - margin, self.distances[-1] + margin

    @property
    def limits(self) -> tuple[float, float]:
        """Scores that can be reached: those at ``distance_limits``."""
        low, high = self.score_at(torch.tensor(self.distance_limits, dtype=torch.float64)).tolist()
        return low, high

    @property
    def slope(self) -> float:
        """Mean change of the score per unit of distance between the outer knots."""
        return (self.scores[-1] - self.scores[0]) / (self.distances[-1] - self.distances[0])

    def score_at(self, distance: Tensor) -> Tensor:
        """Scores [N] at signed distances [N]."""
        return _interpolate(distance, self.distances, self.scores, extend=not self.bounded)

    def distance_at(self, score: Tensor) -> Tensor:
        """Signed distances [N] at which ``score`` [N] is reached; clamped to ``distance_limits``."""
        low, high = self.distance_limits
        return _interpolate(score, self.scores, self.distances, extend=not self.bounded).clamp(low, high)

    def beyond(self, score: Tensor, slack: float = 0.0) -> Tensor:
        """Whether each of ``score`` [N] lies outside ``limits`` by more than ``slack``; `distance_at` clamps it."""
        low, high = self.limits
        slack = max(slack, 1e-6 * (high - low))
        return (score < low - slack) | (score > high + slack)


def _interpolate(x: Tensor, xs: Iterable[float], ys: Iterable[float], *, extend: bool) -> Tensor:
    grid = torch.tensor(list(xs), dtype=torch.float64, device=x.device)
    values = torch.tensor(list(ys), dtype=torch.float64, device=x.device)
    at = x.double() if extend else x.double().clamp(float(grid[0]), float(grid[-1]))
    segment = (torch.searchsorted(grid, at.contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
    share = (at - grid[segment]) / (grid[segment + 1] - grid[segment])
    result = values[segment] + share * (values[segment + 1] - values[segment])
    return result.to(x.dtype)
