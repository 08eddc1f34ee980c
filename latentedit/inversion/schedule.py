"""When the learning rate of a photo rises, falls, and ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMOOTHING = 0.3


class Schedule:
    """A ramp up over the first steps and down (half a cosine) over the last, with an early end.

    A photo that no longer gains is given an earlier last step, from which its ramp down is counted back; so it ends as
    gently as one that took all steps.
    """

    def __init__(self, steps: int, *, ramp_up: float, ramp_down: float, patience: int, min_gain: float) -> None:
        self.up = max(1, round(ramp_up * steps))
        self.down = max(1, round(ramp_down * steps))
        self.patience = patience
        self.min_gain = min_gain
        self.end = steps
        self.smoothed = torch.tensor(math.inf)
        self.best = torch.tensor(math.inf)
        self.best_step = 0

    def rate(self, step: int) -> Tensor:
        """Factor in [0,1] of the learning rate at ``step`` (from 0), a scalar."""
        left = (torch.tensor(self.end - step) / self.down).clamp(0, 1)
        return (0.5 - 0.5 * torch.cos(math.pi * left)) * min(1.0, (step + 1) / self.up)

    def observe(self, step: int, loss: Tensor) -> None:
        """Take note of the loss, a scalar, at ``step``; bring the end forward where it gained too little."""
        if not self.patience:
            return
        loss = loss.detach().cpu()
        self.smoothed = loss if math.isinf(float(self.smoothed)) else self.smoothed.lerp(loss, _SMOOTHING)
        if bool(self.smoothed < self.best * (1 - self.min_gain)):
            self.best, self.best_step = self.smoothed, step
        if step - self.best_step >= self.patience:
            self.end = min(self.end, step + self.down)

    def finished(self, step: int) -> bool:
        """Whether ``step`` was the last."""
        return step + 1 >= self.end
