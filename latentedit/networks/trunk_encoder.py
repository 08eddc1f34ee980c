"""An encoder into W+ on an ImageNet trunk: a base w plus bounded offsets per layer (e4e, Tov et al. 2021, eq. 1).

Legend: ``N`` images, ``R`` resolution of the crop, ``L`` style layers, ``D`` width of w, ``F`` pooled features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.errors import ModelError
from latentedit.networks.efficientnet import EfficientNetLite0, tap_channels
from latentedit.networks.protocols import StyleEncoder


@dataclass(frozen=True)
class TrunkEncoderConfig:
    """``taps`` are blocks of the trunk whose features are brought to ``widths`` channels and averaged to ``cells`` by
    ``cells``; ``hidden`` units beside the linear map; ``bound`` is the largest offset in standard deviations of W.
    """

    resolution: int = 256
    num_ws: int = 18
    w_dim: int = 512
    taps: tuple[int, ...] = (4, 10, 15)
    widths: tuple[int, ...] = (40, 48, 64)
    cells: tuple[int, ...] = (8, 8, 8)
    hidden: int = 160
    bound: float = 2.0

    def __post_init__(self) -> None:
        for name in ("taps", "widths", "cells"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.taps or not len(self.taps) == len(self.widths) == len(self.cells) or max(self.taps) > 15:
            raise ModelError(
                f"taps {self.taps}, widths {self.widths} and cells {self.cells} do not go together.",
                "Give one width and one number of cells for each tap; taps are blocks 0 to 15.",
            )
        if self.resolution < 32 or self.resolution % 32:
            raise ModelError(f"resolution {self.resolution} is not a multiple of 32.", "Choose 128, 256, ...")

    @property
    def features(self) -> int:
        """Pooled features F of an image."""
        return sum(width * cells**2 for width, cells in zip(self.widths, self.cells, strict=True))


class TrunkEncoder(StyleEncoder):
    """Encode crops [N,3,R,R] in [-1,1] to latents ``ws`` [N,L,D].

    The head works in whitened coordinates of W: ``w = w_avg + u @ basis``, where the rows of ``basis`` [D,D] are
    principal axes times their standard deviations. Features are standardised by ``mean`` and ``spread`` [F].
    """

    w_avg: Tensor
    basis: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, config: TrunkEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = EfficientNetLite0(config.taps)
        channels = tap_channels(config.taps)
        self.reduce = nn.ModuleList(
            nn.Conv2d(before, after, 1, bias=False) for before, after in zip(channels, config.widths, strict=True)
        )
        self.base = nn.Linear(config.features, config.w_dim)
        self.hidden = nn.Linear(config.features, config.hidden)
        self.bend = nn.Linear(config.hidden, config.w_dim)
        self.offset = nn.Linear(config.hidden, config.num_ws * config.w_dim)
        for layer in (self.bend, self.offset):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        self.register_buffer("basis", torch.eye(config.w_dim))
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("spread", torch.ones(config.features))

    @property
    def resolution(self) -> int:
        return self.config.resolution

    @property
    def num_ws(self) -> int:
        return self.config.num_ws

    @property
    def w_dim(self) -> int:
        return self.config.w_dim

    def forward(self, images: Tensor) -> Tensor:
        """[N,3,R,R] in [-1,1] -> ws [N,L,D]."""
        base, offsets = self.parts(images)
        return base.unsqueeze(1) + offsets

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The base w [N,D] and the offsets [N,L,D] of the layers."""
        u, offsets = self.coordinates(images)
        return self.w_avg + u @ self.basis, offsets @ self.basis

    def coordinates(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Base [N,D] and offsets [N,L,D] in standard deviations along the principal axes of W."""
        features = (self.pooled(images) - self.mean) / self.spread
        # Latents keep float32 under autocast: bfloat16 has too few digits for their distances.
        with torch.autocast(features.device.type, enabled=False):
            hidden = F.leaky_relu(self.hidden(features), 0.2)
            raw = self.offset(hidden).reshape(len(features), self.config.num_ws, self.config.w_dim)
            return self.base(features) + self.bend(hidden), self.config.bound * torch.tanh(raw / self.config.bound)

    def pooled(self, images: Tensor) -> Tensor:
        """Features [N,F] before they are standardised."""
        parts = []
        for x, reduce, cells in zip(self.trunk(images), self.reduce, self.config.cells, strict=True):
            parts.append(F.adaptive_avg_pool2d(reduce(x), cells).float().flatten(1))
        return torch.cat(parts, dim=1)
