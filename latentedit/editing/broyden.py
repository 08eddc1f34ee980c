"""Honest units: measure what an edit did, and correct how far it goes until it did what was asked.

Calibrations say what a distance does on average; faces differ. On the even scale of scores (`attributes.even`),
Broyden's method (1965, eq. 4.5) solves for the distances of all attributes together, so that an edit of age that also
changes the smile is corrected for both. Pure arithmetic: rendering and judging is the caller's.

Legend: ``N`` subjects, ``K`` attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Measure = Callable[[Tensor], Tensor]
"""Distances [N,K] -> scores [N,K] on the even scale."""


@dataclass(frozen=True)
class Goal:
    """What to reach, each [N,K]: ``base`` and ``targets`` are scores on the even scale, ``start`` the distances to
    begin with, ``slopes`` how much of the score a unit of distance should bring, ``limits`` the furthest allowed
    distances. ``tolerances`` is [K]."""

    base: Tensor
    targets: Tensor
    start: Tensor
    slopes: Tensor
    limits: Tensor
    tolerances: Tensor


def approach(measure: Measure, goal: Goal, *, steps: int = 5) -> tuple[Tensor, Tensor]:
    """The distances and scores [N,K] nearest to the targets among the start and up to ``steps`` corrections of it.

    Every row is solved by itself, and stops moving when all of its scores are within the tolerances.
    """
    at, best_at = goal.start.clone(), goal.start.clone()
    scores = measure(at)
    best_scores, best_miss = scores.clone(), _miss(scores, goal)
    jacobian = torch.diag_embed(goal.slopes)
    moved, gained = at, scores - goal.base
    for _ in range(steps):
        open_rows = best_miss > 1
        if not bool(open_rows.any()):
            break
        jacobian = _update(jacobian, moved, gained, goal.slopes)
        wanted = at + _solve(jacobian, goal.targets - scores)
        furthest_step = 0.5 * goal.limits
        step = (wanted - at).clamp(-furthest_step, furthest_step)
        after = (at + step).clamp(-goal.limits, goal.limits)
        after = torch.where(open_rows[:, None], after, at)
        measured = measure(after)
        moved, gained = after - at, measured - scores
        at, scores = after, measured
        miss = _miss(scores, goal)
        better = miss < best_miss
        best_at = torch.where(better[:, None], at, best_at)
        best_scores = torch.where(better[:, None], scores, best_scores)
        best_miss = torch.minimum(miss, best_miss)
    return best_at, best_scores


def _miss(scores: Tensor, goal: Goal) -> Tensor:
    return ((scores - goal.targets).abs() / goal.tolerances).amax(dim=1)


def _update(jacobian: Tensor, moved: Tensor, gained: Tensor, slopes: Tensor) -> Tensor:
    """Broyden's update, [N,K,K]; an attribute's slope stays within a fifth and five times the expected one."""
    length = moved.square().sum(dim=1)
    residual = gained - torch.einsum("nij,nj->ni", jacobian, moved)
    change = residual[:, :, None] * moved[:, None, :] / length.clamp_min(1e-12)[:, None, None]
    updated = jacobian + torch.where((length > 1e-12)[:, None, None], change, torch.zeros_like(change))
    own = torch.diagonal(updated, dim1=1, dim2=2)
    low, high = torch.minimum(slopes / 5, slopes * 5), torch.maximum(slopes / 5, slopes * 5)
    return updated + torch.diag_embed(own.clamp(low, high) - own)


def _solve(jacobian: Tensor, wanted: Tensor) -> Tensor:
    try:
        return torch.linalg.solve(jacobian, wanted)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        # attributes that are one and the same: share the work
        return torch.linalg.lstsq(jacobian, wanted[..., None]).solution[..., 0]
