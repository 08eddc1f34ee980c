"""Adam with a learning rate per row, so that the photos of a batch keep schedules of their own.

Legend: ``N`` photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class RowAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) over variables [N, ...] whose rows are independent problems.

    Nothing is shared between rows but the count of steps, and rows can be dropped on the way.
    """

    def __init__(self, variables: Sequence[Tensor], *, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8):
        self.betas = betas
        self.eps = eps
        self.steps = 0
        self.first = [torch.zeros_like(variable) for variable in variables]
        self.second = [torch.zeros_like(variable) for variable in variables]

    @torch.no_grad()
    def step(self, variables: Sequence[Tensor], gradients: Sequence[Tensor], rates: Sequence[Tensor]) -> None:
        """Move ``variables`` in place; ``rates`` holds one [N] per variable."""
        self.steps += 1
        beta1, beta2 = self.betas
        correction1, correction2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        for variable, gradient, rate, first, second in zip(
            variables, gradients, rates, self.first, self.second, strict=True
        ):
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            scale = rate.view(-1, *[1] * (variable.ndim - 1)) / correction1
            variable -= scale * first / ((second / correction2).sqrt_() + self.eps)

    def take(self, rows: Tensor) -> None:
        """Go on with ``rows`` alone."""
        self.first = [moment[rows] for moment in self.first]
        self.second = [moment[rows] for moment in self.second]
