"""Adam, with a learning rate that is told anew at every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) over ``variables``, which move in place."""

    def __init__(self, variables: Sequence[Tensor], *, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8):
        self.variables = variables
        self.betas = betas
        self.eps = eps
        self.steps = 0
        self.first = [torch.zeros_like(variable) for variable in variables]
        self.second = [torch.zeros_like(variable) for variable in variables]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Sequence[Tensor]) -> None:
        """Move against ``gradients``; ``rates`` holds one scalar per variable."""
        self.steps += 1
        beta1, beta2 = self.betas
        correction1, correction2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        moments = zip(self.variables, gradients, rates, self.first, self.second, strict=True)
        for variable, gradient, rate, first, second in moments:
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            variable -= rate / correction1 * first / ((second / correction2).sqrt_() + self.eps)
