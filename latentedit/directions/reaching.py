"""Reach an amount on a particular face: correct the distance by what the rendered face scores.

A calibration says what happens on average; faces differ. A few renderings close the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentedit.directions.direction import Direction
from latentedit.errors import DirectionError


@dataclass(frozen=True)
class Reached:
    """Per latent [N]: the ``distance`` to move, the ``score`` measured there, the ``start`` score, the ``target``."""

    distance: Tensor
    score: Tensor
    start: Tensor
    target: Tensor


def reach(
    direction: Direction,
    ws: Tensor,
    amount: Tensor | float,
    measure: Callable[[Tensor], Tensor],
    *,
    steps: int = 4,
    layers: tuple[int, ...] | None = None,
) -> Reached:
    """Find how far to move ``ws`` [N, L, w_dim] along ``direction`` so that the measured score meets ``amount``.

    Args:
        amount: as in `Direction.distance_for`: a change in units, or a target score for probabilities.
        measure: scores [N] of latents [N, L, w_dim]; renders and perceives.
        steps: renderings after the first. Each is a secant step on the scale of the calibration, inside the bracket
            of what was seen; the best distance seen is returned.
        layers: acts on these instead of the direction's own.

    Raises:
        DirectionError: no calibration, or an amount out of range.
    """
    calibration = direction.calibration
    start = measure(ws)
    distance = direction.distance_for(ws, amount, current=start, layers=layers)
    if calibration is None:  # distance_for has raised
        raise DirectionError(f"Direction {direction.name!r} has no calibration.", None)
    wanted = torch.as_tensor(amount, dtype=ws.dtype, device=ws.device).expand(len(ws))
    # The target stays within what was measured, so that a face is never pushed where nothing is known.
    lowest, highest = calibration.limits
    target = (wanted if direction.is_target else start + wanted).clamp(lowest, highest)
    best, best_score = torch.zeros_like(distance), start.clone()
    low = torch.full_like(distance, -torch.inf)
    high = torch.full_like(distance, torch.inf)
    low, high = torch.where(start < target, 0, low), torch.where(start >= target, 0, high)
    furthest = 1.5 * (calibration.distances[-1] - calibration.distances[0])
    goal = calibration.distance_at(target)
    last, last_at = torch.zeros_like(distance), calibration.distance_at(start)
    for _ in range(steps):
        score = measure(ws + direction.displacement(ws, distance, layers=layers))
        nearer = (score - target).abs() < (best_score - target).abs()
        best, best_score = torch.where(nearer, distance, best), torch.where(nearer, score, best_score)
        low = torch.where(score < target, torch.maximum(low, distance), low)
        high = torch.where(score >= target, torch.minimum(high, distance), high)
        at = calibration.distance_at(score)
        # How much of a distance arrives on the calibration's scale: 1 for the average face.
        rate = ((at - last_at) / (distance - last)).nan_to_num(1.0).clamp(0.2, 5.0)
        moved = distance + (goal - at) / rate
        last, last_at = distance, at
        both = torch.isfinite(low) & torch.isfinite(high)
        inside = (moved > low) & (moved < high)
        distance = torch.where(both & ~inside, (low + high) / 2, moved).clamp(-furthest, furthest)
    return Reached(best, best_score, start, target)
