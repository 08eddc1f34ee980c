"""A small convolutional encoder into W+ (after e4e, Tov et al. 2021): a base w and per-layer offsets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.networks.config import EncoderConfig
from latentedit.networks.layers import FullyConnectedLayer
from latentedit.networks.protocols import StyleEncoder


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut; the first may halve the resolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm0 = nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.norm1.weight)
        self.stride = stride
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm0(self.conv0(x)), 0.2)
        y = self.norm1(self.conv1(y))
        x = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        return F.leaky_relu(self.shortcut(x) + y, 0.2)


class Encoder(StyleEncoder):
    """Encode crops [N,3,R,R] in [-1,1] to latents ``ws`` [N, num_ws, w_dim].

    ``w = w_avg + w_std * base(x)`` is the same in all layers; ``offsets`` add a low-rank correction to each layer, as
    in equation 1 of e4e. ``w_avg`` and ``w_std`` are buffers set from the generator's latents, so the trunk works at
    unit scale.
    """

    w_avg: Tensor
    w_std: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.stem = nn.Conv2d(3, widths[0], 3, 1, 1)
        blocks: list[nn.Module] = []
        for i, width in enumerate(widths):
            if i > 0:
                blocks.append(ResidualBlock(widths[i - 1], width, stride=2))
            blocks += [ResidualBlock(width, width, stride=1) for _ in range(config.blocks if i > 0 else 0)]
        self.body = nn.Sequential(*blocks)
        features = widths[-1] * 16
        self.base = FullyConnectedLayer(features, config.w_dim)
        if config.offsets:
            self.offset_hidden = FullyConnectedLayer(features, 128, activation="lrelu")
            self.offset = FullyConnectedLayer(128, config.num_ws * config.w_dim)
            nn.init.zeros_(self.offset.weight)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        self.register_buffer("w_std", torch.ones(config.w_dim))

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
        """[N,3,R,R] in [-1,1] -> ws [N, num_ws, w_dim]."""
        base, offsets = self.parts(images)
        return base.unsqueeze(1) + offsets

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The base w [N, w_dim] and the offsets [N, num_ws, w_dim] (zeros where the config has none)."""
        x = F.leaky_relu(self.stem(images.contiguous(memory_format=torch.channels_last)), 0.2)
        features = self.body(x).to(torch.float32).flatten(1)
        # Latents keep float32 under autocast: bfloat16 has too few digits for their distances.
        with torch.autocast(features.device.type, enabled=False):
            return self._head(features)

    def _head(self, features: Tensor) -> tuple[Tensor, Tensor]:
        base = self.w_avg + self.w_std * self.base(features)
        shape = (len(features), self.config.num_ws, self.config.w_dim)
        if not self.config.offsets:
            return base, base.new_zeros(shape)
        return base, self.w_std * self.offset(self.offset_hidden(features)).reshape(shape)
