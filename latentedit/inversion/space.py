"""Whitened coordinates of W, in which steps and pulls mean the same for every generator.

Legend: ``N`` images, ``L`` layers, ``D`` width of w.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_SAMPLES = 2048
_CHUNK = 256


@dataclass(frozen=True)
class LatentSpace:
    """``ws = center + (u * scales) @ axes``: principal axes of W, scaled to unit variance (GANSpace, Harkonen 2020).

    ``center`` [D] is the average w, ``axes`` [D,D] has orthonormal rows, ``scales`` [D] are standard deviations along
    them. Directions along which the mapping network hardly varies keep a floor, so that photos outside its image can
    still be reached.
    """

    center: Tensor
    axes: Tensor
    scales: Tensor

    @classmethod
    def measure(cls, generator: Any, *, samples: int = _SAMPLES, floor: float = 0.3) -> LatentSpace:
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
        scales = values.clamp_min(0).sqrt()
        scales = scales.clamp_min(max(floor * float(scales.square().mean().sqrt()), 1e-6))
        return cls(center, vectors.t().float().contiguous().to(center.device), scales.float().to(center.device))

    def to_ws(self, u: Tensor) -> Tensor:
        """Latents [N,L,D] at the coordinates ``u`` [N,L,D]."""
        return self.center + (u * self.scales) @ self.axes

    def from_ws(self, ws: Tensor) -> Tensor:
        """Coordinates [N,L,D] of the latents ``ws`` [N,L,D]."""
        return (ws - self.center) @ self.axes.t() / self.scales
