"""Whitened coordinates of W, in which steps and pulls mean the same for every generator.

Legend: ``N`` images, ``L`` layers, ``D`` width of w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from latentedit.networks import StyleGenerator

_SAMPLES = 2048
_CHUNK = 256


@dataclass(frozen=True)
class LatentSpace:
    """``ws = center + (u * scales) @ axes``: principal axes of W, scaled to unit variance (GANSpace, Harkonen 2020).

    ``center`` [D] is the average w, ``axes`` [D,D] has orthonormal rows, ``scales`` [D] are standard deviations along
    them. Directions along which the mapping network hardly varies keep a floor, so that photos outside its image can
    still be reached. ``variances`` [D], ascending as the axes are, are those of W itself.
    """

    center: Tensor
    axes: Tensor
    scales: Tensor
    variances: Tensor

    @classmethod
    def measure(cls, generator: StyleGenerator, *, samples: int = _SAMPLES, floor: float = 0.3) -> LatentSpace:
        """Draw ``samples`` latents (always the same ones) and find their principal axes.

        ``floor`` is the least scale as a share of the root mean square of all.
        """
        center = generator.mapping.w_avg.detach().float()
        random = np.random.RandomState(0)
        z = torch.from_numpy(random.randn(samples, generator.z_dim)).float()
        classes = torch.from_numpy(random.randint(max(generator.c_dim, 1), size=samples))
        covariance = torch.zeros(center.numel(), center.numel(), dtype=torch.float64)
        with torch.no_grad():
            for rows in torch.arange(samples).split(_CHUNK):
                c = nn.functional.one_hot(classes[rows], generator.c_dim).float() if generator.c_dim else None
                w = generator.mapping(z[rows].to(center.device), None if c is None else c.to(center.device))[:, 0]
                offset = (w.float() - center).double().cpu()
                covariance += offset.t() @ offset
        values, vectors = torch.linalg.eigh(covariance / samples)
        values = values.clamp_min(0)
        scales = values.sqrt().clamp_min(max(floor * float(values.mean().sqrt()), 1e-6))
        parts = (vectors.t().contiguous(), scales, values)
        return cls(center, *(part.float().to(center.device) for part in parts))

    def within(self, share: float = 0.99) -> LatentSpace:
        """The subspace of the principal axes that hold this ``share`` of the variance: k coordinates instead of D.

        Latents off these axes are none that the generator was trained on, and edits of them come apart.
        """
        held = self.variances.flip(0).cumsum(0) / self.variances.sum()
        kept = min(int((held < share).sum()) + 1, len(held))
        return replace(self, axes=self.axes[-kept:], scales=self.scales[-kept:], variances=self.variances[-kept:])

    def to_ws(self, u: Tensor) -> Tensor:
        """Latents [N,L,D] at the coordinates ``u`` [N,L,k]; k is D but `within` a subspace."""
        return self.center + (u * self.scales) @ self.axes

    def from_ws(self, ws: Tensor) -> Tensor:
        """Coordinates [N,L,k] of the latents ``ws`` [N,L,D]: those of the nearest point in the subspace."""
        return (ws - self.center) @ self.axes.t() / self.scales
