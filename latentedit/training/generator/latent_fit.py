"""Second stage: fit the mapping network to latents that an encoder found for photos.

It starts as the Gaussian with the latents' mean and covariance, which covers them all, and then plays against a small
critic on latents (logistic loss, R1), which bends the Gaussian into their real shape while its moments are held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentedit.networks import MappingNetwork
from latentedit.networks.layers import FullyConnectedLayer
from latentedit.training.generator.penalties import discriminator_loss, generator_loss

CENTRE = 3.0
"""Mean of standardised latents, coordinate by coordinate: the mapping ends in a leaky ReLU, linear above zero only."""


class LatentCritic(nn.Module):
    """Judge latents [N, w_dim]: does this w come from a photo? The latent discriminator of e4e (Tov et al. 2021)."""

    def __init__(self, w_dim: int, hidden: int = 512, layers: int = 4) -> None:
        super().__init__()
        widths = [w_dim, *[hidden] * (layers - 1)]
        self.body = nn.Sequential(
            *[FullyConnectedLayer(widths[i], hidden, activation="lrelu") for i in range(len(widths))]
        )
        self.out = FullyConnectedLayer(hidden, 1)

    def forward(self, w: Tensor) -> Tensor:
        return self.out(self.body(w))


@dataclass(frozen=True)
class LatentFitConfig:
    """Settings of the stage; ``moments_weight`` holds mean and covariance while the critic bends the rest.

    The mapping network stores its weights 100 times enlarged (learning-rate multiplier 0.01), hence the large rates.
    """

    batch_size: int = 256
    critic_steps: int = 500
    learning_rate: float = 0.01
    critic_learning_rate: float = 1e-3
    r1_gamma: float = 1.0
    moments_weight: float = 3.0
    seed: int = 0


class LatentFit:
    """Fit ``mapping`` so that ``mapping(z)`` is distributed as ``latents`` [M, w_dim]."""

    def __init__(self, mapping: MappingNetwork, latents: Tensor, config: LatentFitConfig) -> None:
        self.mapping = mapping
        self.config = config
        self.random = torch.Generator().manual_seed(config.seed)
        self.latents = latents
        self.mean = latents.mean(dim=0)
        self.covariance = torch.cov(latents.t())
        values, vectors = torch.linalg.eigh(self.covariance)
        self.root = vectors * values.clamp_min(0).sqrt()
        torch.manual_seed(config.seed)
        self.critic = LatentCritic(latents.shape[1])

    def _map(self, z: Tensor) -> Tensor:
        return self.mapping(z)[:, 0]

    def _sample(self) -> Tensor:
        return torch.randn(self.config.batch_size, self.mapping.z_dim, generator=self.random)

    @torch.no_grad()
    def start_gaussian(self) -> None:
        """Set the mapping to ``mean + root @ z``: orthogonal layers that stay in the linear range of their activation.

        Every layer's outputs lie about `CENTRE` with unit deviation, so that a leaky ReLU bends one in a thousand.
        """
        mapping = self.mapping
        for i in range(mapping.num_layers):
            layer: FullyConnectedLayer = getattr(mapping, f"fc{i}")
            size = layer.weight.shape
            last = i == mapping.num_layers - 1
            matrix = self.root if last else torch.linalg.qr(torch.randn(size[0], size[0], generator=self.random))[0]
            matrix = matrix[:, : size[1]]
            incoming = 0.0 if i == 0 else CENTRE
            target = self.mean if last else torch.full([size[0]], CENTRE)
            layer.weight.copy_(matrix / 2**0.5 / layer.weight_gain)
            assert layer.bias is not None
            layer.bias.copy_((target - matrix.sum(dim=1) * incoming) / 2**0.5 / layer.bias_gain)

    def adversarial(self) -> Iterator[dict[str, float]]:
        """Play mapping against critic; yields both losses and the error of the moments."""
        config = self.config
        g = torch.optim.Adam(self.mapping.parameters(), lr=config.learning_rate, betas=(0.0, 0.99))
        d = torch.optim.Adam(self.critic.parameters(), lr=config.critic_learning_rate, betas=(0.0, 0.99))
        for _ in range(config.critic_steps):
            rows = torch.randint(len(self.latents), (config.batch_size,), generator=self.random)
            real = self.latents[rows].requires_grad_(True)
            with torch.no_grad():
                fake = self._map(self._sample())
            real_logits = self.critic(real)
            (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
            critic_loss = discriminator_loss(real_logits, self.critic(fake))
            penalty = gradient.square().sum(dim=1).mean() * config.r1_gamma / 2
            d.zero_grad(set_to_none=True)
            (critic_loss + penalty).backward()
            d.step()
            w = self._map(self._sample())
            moments = self._moments(w)
            loss = generator_loss(self.critic(w)) + config.moments_weight * moments
            g.zero_grad(set_to_none=True)
            loss.backward()
            g.step()
            yield {
                "critic": float(critic_loss.detach()),
                "mapping": float(loss.detach()),
                "moments": float(moments.detach()),
            }
        self.settle()

    @torch.no_grad()
    def settle(self, samples: int = 16_384) -> None:
        """Bring the mean of the mapped latents to that of the latents by the last layer's bias, and set ``w_avg``."""
        last: FullyConnectedLayer = getattr(self.mapping, f"fc{self.mapping.num_layers - 1}")
        assert last.bias is not None
        for _ in range(3):
            z = torch.randn(samples, self.mapping.z_dim, generator=self.random)
            last.bias.add_((self.mean - self._map(z).mean(dim=0)) / 2**0.5 / last.bias_gain)
        self.mapping.w_avg.copy_(self.mean)

    def _moments(self, w: Tensor) -> Tensor:
        """Squared error of mean and variance along the latents' principal axes, in units of their own deviation.

        A batch cannot estimate a whole covariance matrix, but variances along known axes it can. Of the axes that hold
        the last hundredth of the variance only the mean is held, in units of the coordinates: the critic hardly looks
        there, and the mean would drift.
        """
        std = self.root.norm(dim=0)
        order = std.argsort(descending=True)
        shares = std[order].square().cumsum(dim=0) / std.square().sum()
        main = order[: int((shares < 0.99).sum()) + 1]
        projected = (w - self.mean) @ (self.root[:, main] / std[main].square())
        drift = ((w.mean(dim=0) - self.mean) / self.covariance.diagonal().sqrt()).square().mean()
        return projected.mean(dim=0).square().mean() + (projected.var(dim=0) - 1).square().mean() + 10 * drift
