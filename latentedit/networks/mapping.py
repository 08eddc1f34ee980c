"""The mapping network f: Z -> W with truncation (Karras et al. 2019, "A Style-Based Generator Architecture")."""

from __future__ import annotations

import copy
import hashlib
import math

import numpy as np
import torch
from torch import Tensor, nn

from latentedit.errors import LatentError
from latentedit.networks.layers import FullyConnectedLayer, normalize_2nd_moment


class MappingNetwork(nn.Module):
    """Map ``z`` [N, z_dim] and labels ``c`` [N, c_dim] to ``ws`` [N, num_ws, w_dim].

    ``num_ws=None`` returns one vector [N, w_dim] per row (the discriminator's label map), ``z_dim=0`` maps labels
    alone, ``w_avg_beta=None`` keeps no running mean and so allows no truncation.
    """

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        *,
        num_layers: int = 8,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.998,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = w_dim
        self.num_ws = num_ws
        self.num_layers = num_layers
        self.w_avg_beta = w_avg_beta
        embed = (w_dim if embed_features is None else embed_features) if c_dim > 0 else 0
        hidden = w_dim if layer_features is None else layer_features
        widths = [z_dim + embed, *[hidden] * (num_layers - 1), w_dim]
        if c_dim > 0:
            self.embed = FullyConnectedLayer(c_dim, embed)
        for i in range(num_layers):
            layer = FullyConnectedLayer(widths[i], widths[i + 1], activation=activation, lr_multiplier=lr_multiplier)
            setattr(self, f"fc{i}", layer)
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_w_avg: bool = False,
    ) -> Tensor:
        """Map latents to style vectors.

        Args:
            z: [N, z_dim], standard normal.
            c: [N, c_dim] labels of a conditional model; None elsewhere.
            truncation_psi: ``w_avg + psi * (w - w_avg)``; 1 leaves the latents as they are.
            truncation_cutoff: truncate only the first so many layers; None truncates all.
            update_w_avg: move the running mean towards this batch (training).

        Raises:
            LatentError: ``z`` or ``c`` missing, of a wrong shape, or truncation without a running mean.
        """
        x = self._inputs(z, c)
        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)
        if update_w_avg and self.w_avg_beta is not None:
            self.w_avg.copy_(x.detach().float().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))
        if self.num_ws is None:
            return x
        x = x.unsqueeze(1).repeat(1, self.num_ws, 1)
        return x if truncation_psi == 1 else self.truncate(x, truncation_psi, truncation_cutoff)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Pull the first ``cutoff`` layers of ``ws`` [N, num_ws, w_dim] towards ``w_avg`` by ``psi``."""
        if not math.isfinite(psi):
            raise LatentError(f"truncation_psi={psi} is no finite number.", "Choose 0 (the average) to 1.")
        if not hasattr(self, "w_avg"):
            raise LatentError(f"truncation_psi={psi} needs w_avg, which this network has not.", "Use truncation_psi=1.")
        head = self.w_avg.lerp(ws[:, :cutoff], psi)
        return head if cutoff is None else torch.cat([head, ws[:, cutoff:]], dim=1)

    def _inputs(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        dtype = self.get_parameter("fc0.weight").dtype
        parts = []
        if self.z_dim > 0:
            if z is None or z.ndim != 2 or z.shape[1] != self.z_dim:
                shape = None if z is None else tuple(z.shape)
                raise LatentError(f"z has shape {shape}.", f"This generator takes z [N, {self.z_dim}].")
            parts.append(normalize_2nd_moment(z.to(dtype)))
        if self.c_dim > 0:
            if c is None or c.ndim != 2 or c.shape[1] != self.c_dim:
                shape = None if c is None else tuple(c.shape)
                raise LatentError(f"c has shape {shape}.", f"This conditional generator takes c [N, {self.c_dim}].")
            parts.append(normalize_2nd_moment(self.embed(c.to(dtype))))
        return torch.cat(parts, dim=1)


PROBES = 8
"""Latents, and components of each one's w, that `mapping_fingerprint` looks at."""


@torch.no_grad()
def mapping_fingerprint(mapping: MappingNetwork) -> str:
    """Identify W: 16 hex digits that generators share whose mapping networks are the same function.

    It is the SHA-256 of what the network makes of the seeds 0 to 7 (of class 0 where there are labels): eight
    components of each w, in float64, rounded to eighths of their root mean square. Weights are not hashed: the same
    network is stored in several ways (a learning-rate multiplier inside or outside of them) that differ in their last
    digit. Weights rounded to float16 mostly count as another mapping. ``w_avg`` plays no part.
    """
    double = copy.deepcopy(mapping).to(device="cpu", dtype=torch.float64)
    z = np.concatenate([np.random.RandomState(seed).randn(1, mapping.z_dim) for seed in range(PROBES)])
    c = torch.eye(mapping.c_dim, dtype=torch.float64)[:1].expand(PROBES, -1) if mapping.c_dim else None
    w = double(torch.from_numpy(z), c)
    w = w.reshape(PROBES, -1, w.shape[-1])[:, 0]
    unit = w.square().mean().sqrt() / 8 + 1e-30
    chosen = w[:, :: max(1, w.shape[1] // PROBES)][:, :PROBES]
    steps = torch.round(chosen / unit).to(torch.int64).numpy()
    return hashlib.sha256(f"{w.shape[1]}".encode() + steps.astype("<i8").tobytes()).hexdigest()[:16]
