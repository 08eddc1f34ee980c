"""EfficientNet-Lite0 as a trunk (Tan & Le 2019, arXiv 1905.11946, table 1; "Lite" by TensorFlow's model card).

Lite has no squeeze-and-excitation, and ReLU6 for Swish. Batch norm is a gain and a bias of each convolution: its
statistics stay frozen.

Legend: ``N`` images, ``R`` resolution; images are [N,3,R,R] in [-1,1], as the original's ``(x - 127) / 128``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stage(NamedTuple):
    """A row of the paper's table 1: blocks of ``channels`` outputs, the first of them with ``stride``."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
STEM_CHANNELS = 32


class ScaledConv(nn.Module):
    """A convolution whose outputs have a gain and a bias: batch norm with frozen statistics.

    Padding is TensorFlow's "SAME": of an odd number of pixels the larger half goes to the right and below.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.gain = nn.Parameter(torch.ones(out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride = stride
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        weight = self.weight * self.gain[:, None, None, None]
        if self.stride == 1:
            return F.conv2d(x, weight, self.bias, padding=kernel // 2, groups=self.groups)
        pads = [pad for side in (x.shape[3], x.shape[2]) for pad in _same_padding(side, kernel, self.stride)]
        return F.conv2d(F.pad(x, pads), weight, self.bias, self.stride, groups=self.groups)


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; a shortcut where the shapes agree (MobileNetV2)."""

    def __init__(self, in_channels: int, out_channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        width = in_channels * stage.expansion
        self.expand = ScaledConv(in_channels, width) if stage.expansion > 1 else None
        self.depthwise = ScaledConv(width, width, stage.kernel, stride, groups=width)
        self.project = ScaledConv(width, out_channels)
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """The convolutions up to the last block, 3.0 M weights; `forward` returns the outputs of the blocks in ``taps``."""

    def __init__(self, taps: tuple[int, ...] = (4, 10, 15)) -> None:
        super().__init__()
        self.taps = taps
        self.stem = ScaledConv(3, STEM_CHANNELS, 3, 2)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        for stage in STAGES:
            for index in range(stage.blocks):
                blocks.append(InvertedResidual(channels, stage.channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks[: max(taps) + 1])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features [N,C,r,r] after each tapped block of images [N,3,R,R] in [-1,1]: 40 channels at R/8 after block 4,
        112 at R/16 after block 10, 320 at R/32 after block 15."""
        x = F.relu6(self.stem(images.contiguous(memory_format=torch.channels_last)))
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                features.append(x)
        return features


def tap_channels(taps: tuple[int, ...]) -> tuple[int, ...]:
    """Channels of the features after the blocks ``taps``."""
    every = [stage.channels for stage in STAGES for _ in range(stage.blocks)]
    return tuple(every[tap] for tap in taps)
