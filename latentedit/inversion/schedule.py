"""When the learning rate of each photo rises, falls, and ends.

Legend: ``N`` photos of a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMOOTHING = 0.3


class Schedule:
    """Per-photo ramps with an early end: up over the first steps, down (half a cosine) over the last.

    A photo that no longer gains is given an earlier last step, from which its ramp down is counted back; so it ends as
    gently as one that took all steps.
    """

    def __init__(
        self, count: int, steps: int, *, ramp_up: float, ramp_down: float, patience: int, min_gain: float
    ) -> None:
        self.steps = steps
        self.up = max(1, round(ramp_up * steps))
        self.down = max(1, round(ramp_down * steps))
        self.patience = patience
        self.min_gain = min_gain
        self.end = torch.full([count], steps)
        self.smoothed = torch.full([count], math.inf)
        self.best = torch.full([count], math.inf)
        self.best_step = torch.zeros(count, dtype=torch.long)

    def rates(self, step: int) -> Tensor:
        """Factors in [0,1] of the learning rate at ``step`` (from 0), [N]."""
        left = ((self.end - step) / self.down).clamp(0, 1)
        return (0.5 - 0.5 * torch.cos(math.pi * left)) * min(1.0, (step + 1) / self.up)

    def observe(self, step: int, loss: Tensor) -> None:
        """Take note of the loss [N] at ``step`` and bring the end of those forward that gained too little."""
        if not self.patience:
            return
        loss = loss.detach().cpu()
        first = torch.isinf(self.smoothed)
        self.smoothed = torch.where(first, loss, self.smoothed.lerp(loss, _SMOOTHING))
        gained = self.smoothed < self.best * (1 - self.min_gain)
        self.best = torch.where(gained, self.smoothed, self.best)
        self.best_step = torch.where(gained, step, self.best_step)
        waited = step - self.best_step >= self.patience
        self.end = torch.where(waited, self.end.clamp_max(step + self.down), self.end)

    def finished(self, step: int) -> Tensor:
        """Whether ``step`` was the last, [N] booleans."""
        return step + 1 >= self.end

    def take(self, rows: Tensor) -> None:
        """Go on with ``rows`` alone."""
        for name in ("end", "smoothed", "best", "best_step"):
            setattr(self, name, getattr(self, name)[rows.cpu()])
