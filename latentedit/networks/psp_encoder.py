"""Encoders of the pSp family: pSp (Richardson et al. 2021), e4e (Tov et al. 2021), ReStyle (Alaluf et al. 2021).

The names of tensors are those of the published checkpoints (without ``encoder.``).
Legend: ``N`` photos, ``L`` style layers, ``C`` channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.errors import ModelError
from latentedit.networks.protocols import Render, StyleEncoder

UNITS = (3, 4, 14, 3)
"""Residual units per group of the IR-SE50 backbone; the first of each group halves the resolution."""
SIZES = (16, 32, 64)
"""Pixels of the feature maps c3, p2, p1 that styles are read from."""


@dataclass(frozen=True)
class PspEncoderConfig:
    """An encoder of the pSp family.

    ``sizes`` gives, per style layer, the feature map that it is read from: 16 (c3), 32 (p2) or 64 px (p1).
    ``progressive``: styles are offsets from the first one (e4e). ``iterative``: the input is the photo and the current
    image, the output a correction of the current latent (ReStyle). ``single``: one w for all layers, from the mean of
    the last feature map (pSp's encoder into W, e4e's SingleStyleCode); ``sizes`` is then empty. ``channels`` is 1 for
    pSp's encoder of drawings, which takes grey values from 0 to 1. ``width`` is 64 in all published models.
    """

    num_ws: int
    sizes: tuple[int, ...]
    w_dim: int = 512
    progressive: bool = False
    iterative: bool = False
    width: int = 64
    resolution: int = 256
    single: bool = False
    channels: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if len(self.sizes) != (0 if self.single else self.num_ws) or not set(self.sizes) <= set(SIZES):
            raise ModelError(f"sizes {self.sizes} do not fit {self.num_ws} styles.", "Give 16, 32 or 64 for each.")
        plain = self.channels == 3 or (self.channels == 1 and not self.iterative)
        if self.resolution != 256 or not 16 <= self.width <= 1024 or self.w_dim < 1 or not plain:
            raise ModelError("The configuration of the encoder has values out of range.", "The file may be damaged.")


def default_sizes(num_ws: int) -> tuple[int, ...]:
    """The published assignment: three coarse styles, four middle ones, the rest fine."""
    return tuple(16 if i < 3 else 32 if i < 7 else 64 for i in range(num_ws))


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class ResidualUnit(nn.Module):
    """The improved residual unit of ArcFace's IR-SE backbone (Deng et al. 2019)."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(fan_in),
            nn.Conv2d(fan_in, fan_out, 3, 1, 1, bias=False),
            nn.PReLU(fan_out),
            nn.Conv2d(fan_out, fan_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(fan_out),
            SqueezeExcite(fan_out),
        )
        self.stride = stride
        self.shortcut_layer = (
            None
            if fan_in == fan_out
            else nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.shortcut_layer is None else self.shortcut_layer(x)
        return self.res_layer(x) + shortcut


class EqualLinear(nn.Module):
    """Linear layer with weights scaled by ``1 / sqrt(fan_in)`` at run time."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in))
        self.bias = nn.Parameter(torch.zeros(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight.shape[1] ** -0.5, self.bias)


class StyleHead(nn.Module):
    """A feature map [N, C, size, size] down to one style [N, w_dim] by convolutions of stride 2."""

    def __init__(self, channels: int, w_dim: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(size.bit_length() - 1):
            layers += [nn.Conv2d(channels if i == 0 else w_dim, w_dim, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class PspEncoder(StyleEncoder):
    """Photos [N,3,256,256] in [-1,1] to latents ``ws`` [N, L, w_dim]; ``latent_avg`` is part of the network.

    An iterative encoder (ReStyle) starts from ``average_image``; `refine` runs its loop.
    """

    latent_avg: Tensor
    average_image: Tensor

    def __init__(self, config: PspEncoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << i for i in range(4)]
        self.input_layer = nn.Sequential(
            nn.Conv2d(6 if config.iterative else config.channels, config.width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(config.width),
            nn.PReLU(config.width),
        )
        units, fan_in = [], config.width
        for count, fan_out in zip(UNITS, widths, strict=True):
            units += [ResidualUnit(fan_in if i == 0 else fan_out, fan_out, 2 if i == 0 else 1) for i in range(count)]
            fan_in = fan_out
        self.body = nn.Sequential(*units)
        if config.single:
            self.linear = EqualLinear(widths[3], config.w_dim)
        self.styles = nn.ModuleList(StyleHead(widths[3], config.w_dim, size) for size in config.sizes)
        if max(config.sizes, default=0) > 16:
            self.latlayer1 = nn.Conv2d(widths[2], widths[3], 1)
            self.latlayer2 = nn.Conv2d(widths[1], widths[3], 1)
        self.register_buffer("latent_avg", torch.zeros(config.num_ws, config.w_dim))
        if config.iterative:
            self.register_buffer("average_image", torch.zeros(3, config.resolution, config.resolution))

    @property
    def resolution(self) -> int:
        return self.config.resolution

    @property
    def num_ws(self) -> int:
        return self.config.num_ws

    @property
    def w_dim(self) -> int:
        return self.config.w_dim

    @property
    def iterative(self) -> bool:
        return self.config.iterative

    def forward(self, images: Tensor, current: Tensor | None = None, ws: Tensor | None = None) -> Tensor:
        """Encode ``images`` [N,3,256,256].

        ``current`` [N,3,256,256] and ``ws`` [N,L,w_dim] are the present image and its latent, for iterative encoders
        only; by default the average face.
        """
        base = self.latent_avg.expand(len(images), -1, -1) if ws is None else ws
        if self.config.iterative:
            start = self.average_image.expand(len(images), -1, -1, -1) if current is None else current
            images = torch.cat([images, start], dim=1)
        if self.config.channels == 1:
            images = (grey(images) + 1) / 2
        features = self._features(images)
        if self.config.single:
            return base + self.linear(features[16].mean(dim=(2, 3))).unsqueeze(1)
        offsets = [head(features[size]) for head, size in zip(self.styles, self.config.sizes, strict=True)]
        if self.config.progressive:
            offsets[1:] = [offsets[0] + offset for offset in offsets[1:]]
        return base + torch.stack(offsets, dim=1)

    def refine(self, images: Tensor, render: Render, *, steps: int = 5) -> Tensor:
        """ReStyle's loop: encode photo and current image, correct the latent, render, ``steps`` times."""
        if not self.iterative:
            return self(images)
        ws = self(images)
        for _ in range(steps - 1):
            ws = self.forward(images, render(ws), ws)
        return ws

    def _features(self, x: Tensor) -> dict[int, Tensor]:
        """c3, and with the lateral layers p2 and p1, by their pixels at an input of 256."""
        x = self.input_layer(x)
        ends = {sum(UNITS[: i + 1]) - 1: i for i in range(len(UNITS))}
        kept: list[Tensor] = []
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in ends:
                kept.append(x)
        features = {16: kept[3]}
        if max(self.config.sizes, default=0) > 16:
            features[32] = _add(features[16], self.latlayer1(kept[2]))
            features[64] = _add(features[32], self.latlayer2(kept[1]))
        return features


def grey(images: Tensor) -> Tensor:
    """Luma [N,1,H,W] of ``images`` [N,3,H,W], in the same range (ITU-R BT.601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device, dtype=images.dtype)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def _add(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, size=large.shape[2:], mode="bilinear", align_corners=True) + large
