"""Small pictures for little: heads on the inner features of a MobileStyleGAN (Belousov 2021, section 3.2).

A head makes a picture of twice the side of the features that it reads: a modulated 1x1 convolution to wavelet
coefficients, as the network's own last layer, and beside it two separable layers that stand for the blocks left out.
Legend: ``N`` images, ``L`` style rows, ``C`` channels and ``r`` side of the features, ``M`` channels of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentedit.cuda_ops import pointwise_lrelu, styled_depthwise
from latentedit.errors import LatentError, ModelError
from latentedit.networks.mobilestylegan import MobileStyleGANConfig, MobileSynthesis, WaveletBlock, WaveletImage


@dataclass(frozen=True)
class SmallHeadsConfig:
    """``channels`` are those of the generator, at 4 px, 8 px, ...; ``sides`` the pictures that there are heads for;
    ``narrow`` the channels of a head's second layer, ``summary`` the numbers that stand for the rows left out.
    """

    channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)
    sides: tuple[int, ...] = (64, 128, 256)
    narrow: int = 64
    summary: int = 64
    img_channels: int = 3
    w_dim: int = 512

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "sides", tuple(self.sides))
        known = [8 << i for i in range(len(self.channels) - 1)]
        if not self.sides or any(side not in known for side in self.sides):
            raise ModelError(f"There are no heads for sides {self.sides}.", f"Choose among {known}.")

    def level(self, side: int) -> int:
        """Index of the block whose features make a picture of ``side``: 0 at 4 px."""
        return side.bit_length() - 4


class SmallHead(nn.Module):
    """One picture of ``side`` from features [N,C,side/2,side/2]; the first layer is as wide as the generator's own."""

    noise: Tensor

    def __init__(self, config: SmallHeadsConfig, side: int) -> None:
        super().__init__()
        level = config.level(side)
        before, after = config.channels[level], config.channels[level + 1]
        self.first_row = 2 * level + 1
        self.last_row = 2 * len(config.channels)
        rows = self.last_row - self.first_row
        self.summary = nn.Linear(rows * config.w_dim, config.summary)
        sizes = {"up": before, "conv0": before // 4, "conv1": after, "image": config.narrow}
        self.gains = {"up": 1.0, "conv0": (9 * before // 4) ** -0.5, "conv1": (9 * after) ** -0.5, "image": 1.0}
        self.own = nn.ModuleDict({name: nn.Linear(config.w_dim, size) for name, size in sizes.items()})
        self.others = nn.ModuleDict({name: nn.Linear(config.summary, size, bias=False) for name, size in sizes.items()})
        self.depthwise0 = nn.Parameter(torch.randn(before // 4, 1, 3, 3) / 3)
        self.weight0 = nn.Parameter(torch.randn(after, before // 4) * (4 / before) ** 0.5)
        self.bias0 = nn.Parameter(torch.zeros(after))
        self.depthwise1 = nn.Parameter(torch.randn(after, 1, 3, 3) / 3)
        self.weight1 = nn.Parameter(torch.randn(config.narrow, after) * after**-0.5)
        self.bias1 = nn.Parameter(torch.zeros(config.narrow))
        self.noise = nn.Parameter(torch.zeros(2, side, side))
        self.image_weight = nn.Parameter(torch.zeros(config.img_channels, config.narrow))
        self.skip = WaveletImage(before, config.img_channels, config.w_dim)

    def forward(self, features: Tensor, ws: Tensor, window: tuple[int, int] | None = None) -> Tensor:
        """``features`` [N,C,r,r], ``ws`` [N,L,w_dim] -> [N,img_channels,2r,2r].

        ``window``, the top and left of ``features`` where they are a part of the whole, is for training on parts.
        """
        x, style = self.details(features, ws, window)
        n, channels, height, width = x.shape
        weight = self.image_weight * style[:, None, :]
        details = weight @ x.permute(0, 2, 3, 1).reshape(n, height * width, channels).transpose(1, 2)
        return self.skip(features, ws[:, self.first_row].float()) + details.view(n, -1, height, width)

    def details(self, features: Tensor, ws: Tensor, window: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Activations [N,M,2r,2r] of the second layer and the scales [N,M] that the picture takes them with."""
        ws = ws[:, self.first_row : self.last_row].float()
        summary = self.summary(ws.flatten(1))
        row = {"up": 0, "conv0": 0, "conv1": 1, "image": -1}
        styles = {
            name: (own(ws[:, row[name]]) + self.others[name](summary)) * self.gains[name]
            for name, own in self.own.items()
        }
        noise = self.noise
        if window is not None:
            top, left = (2 * start for start in window)
            noise = noise[:, top : top + 2 * features.shape[2], left : left + 2 * features.shape[3]]
        x = styled_depthwise(features, self.depthwise0, styles["conv0"], styles["up"])
        x = pointwise_lrelu(x, self.weight0, self.bias0, noise[:1])
        x = styled_depthwise(x, self.depthwise1, styles["conv1"])
        return pointwise_lrelu(x, self.weight1, self.bias1, noise[1:]), styles["image"]


class SmallHeads(nn.Module):
    """The heads of one generator by the side of their pictures, to be set as ``synthesis.heads``."""

    def __init__(self, config: SmallHeadsConfig) -> None:
        super().__init__()
        self.config = config
        self.heads = nn.ModuleDict({str(side): SmallHead(config, side) for side in config.sides})

    @property
    def levels(self) -> Mapping[int, int]:
        """For every side of a picture that of the features that it is made from."""
        return {side: side // 2 for side in self.config.sides}

    def forward(self, features: Tensor, ws: Tensor, resolution: int) -> Tensor:
        """``features`` [N,C,resolution/2,resolution/2], ``ws`` [N,L,w_dim] -> [N,3,resolution,resolution].

        Raises:
            LatentError: there is no head of that ``resolution``.
        """
        if resolution not in self.config.sides:
            raise LatentError(f"There is no head for {resolution} px.", f"Choose one of {self.config.sides}.")
        return self.heads[str(resolution)](features, ws)

    @classmethod
    def beside(cls, synthesis: MobileSynthesis, sides: tuple[int, ...] = (64, 128, 256)) -> SmallHeads:
        """Untrained heads whose first layers are those of the blocks that they stand for."""
        config: MobileStyleGANConfig = synthesis.config  # type: ignore[assignment]
        heads = cls(SmallHeadsConfig(config.channels, sides, img_channels=config.img_channels, w_dim=config.w_dim))
        for side in sides:
            _borrow(heads.heads[str(side)], getattr(synthesis, f"b{side}"))
        return heads


@torch.no_grad()
def _borrow(head: nn.Module, block: WaveletBlock) -> None:
    """Copy what ``block`` has of the head's first layer; the pictures start from the linear part alone."""
    assert isinstance(head, SmallHead)
    for name, affine in (("up", block.up), ("conv0", block.conv0.affine), ("conv1", block.conv1.affine)):
        head.own[name].load_state_dict(affine.state_dict())
    last = head.own["image"]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.ones_(last.bias)
    for layer in head.others.values():
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.weight)
    head.depthwise0.copy_(block.conv0.depthwise)
    head.weight0.copy_(block.conv0.weight)
    head.bias0.copy_(block.conv0.bias)
    head.noise[:1].copy_(block.conv0.noise_const * block.conv0.noise_strength)
    head.noise[1:].copy_(block.conv1.noise_const * block.conv1.noise_strength)
    head.depthwise1.copy_(block.conv1.depthwise)
    shared = min(len(head.weight1), len(block.conv1.weight))
    head.weight1[:shared].copy_(block.conv1.weight[:shared])
    head.bias1[:shared].copy_(block.conv1.bias[:shared])
    nn.init.zeros_(head.skip.weight)
    head.skip.affine.load_state_dict(block.up.state_dict())
