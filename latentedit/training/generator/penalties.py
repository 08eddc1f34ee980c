"""Losses of adversarial training: the non-saturating logistic pair, lazy R1, and path-length regularisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator (Goodfellow et al. 2014)."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def r1_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """Squared gradient norm of the logits with respect to real images (Mescheder et al. 2018, eq. 9), a logit."""
    real = real.detach().requires_grad_(True)
    logits = discriminator(real)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum() / logits.numel()


class PathLengthPenalty(nn.Module):
    """Deviation of ``|J_w^T y|`` from its running mean (Karras et al. 2020, eq. 4); the mean is a buffer."""

    mean_length: Tensor

    def __init__(self, decay: float = 0.01) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean_length", torch.zeros([]))

    def forward(self, images: Tensor, ws: Tensor) -> Tensor:
        """``images`` [N,3,R,R] rendered from ``ws`` [N,L,D], which must require gradients."""
        y = torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
        (gradient,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        mean = self.mean_length.lerp(lengths.detach().mean(), self.decay)
        self.mean_length.copy_(mean)
        return (lengths - mean).square().mean()
