"""The wide view of a face: hair and what surrounds the face, which the perception network's own crop cuts off.

Legend: ``N`` images, ``S`` side of the input, ``K`` attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.errors import ModelError
from latentedit.networks.efficientnet import EfficientNetLite0, tap_channels

_GRIDS = (4, 3)  # cells along a side that the features of each tap are averaged to


@dataclass(frozen=True)
class WideConfig:
    """Shape of a `WideView`: ``attributes`` that it reads, ``size`` of its input in pixels, ``hidden`` units behind the
    features of the trunk's blocks ``taps``. ``template_scale`` and ``template_shift`` are those of the crop template of
    the photos that it was trained on; the default is FFHQ's.
    """

    attributes: tuple[str, ...]
    size: int = 96
    taps: tuple[int, int] = (4, 10)
    hidden: int = 192
    dropout: float = 0.4
    template_scale: float = 1.0
    template_shift: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple(self.attributes))
        object.__setattr__(self, "taps", tuple(self.taps))
        if not self.attributes or len(self.taps) != len(_GRIDS) or not 0 <= self.taps[0] < self.taps[1] <= 15:
            raise ModelError(
                f"A wide view of {len(self.attributes)} attributes behind the blocks {self.taps} cannot be built.",
                "Give attributes, and two blocks in rising order from 0 to 15.",
            )


class WideView(nn.Module):
    """The first blocks of EfficientNet-Lite0 with a small head: logits of attributes.

    ``slope`` and ``offset`` [K] make the logits log-odds (Platt scaling).
    """

    slope: Tensor
    offset: Tensor

    def __init__(self, config: WideConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = EfficientNetLite0(config.taps)
        channels = tap_channels(config.taps)
        features = sum(width * grid * grid for width, grid in zip(channels, _GRIDS, strict=True))
        self.hidden = nn.Linear(features, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, len(config.attributes))
        self.register_buffer("slope", torch.ones(len(config.attributes)))
        self.register_buffer("offset", torch.zeros(len(config.attributes)))

    def features(self, images: Tensor) -> Tensor:
        """[N, F] of ``images`` [N,3,S,S] in [-1,1]: the tapped maps, averaged over the cells of coarse grids."""
        maps = self.trunk(images)
        return torch.cat(
            [F.adaptive_avg_pool2d(x, grid).flatten(1) for x, grid in zip(maps, _GRIDS, strict=True)], dim=1
        )

    def classify(self, features: Tensor) -> Tensor:
        """Raw logits [N,K] of `features`."""
        return self.head(self.dropout(F.relu(self.hidden(features))))

    def forward(self, images: Tensor) -> Tensor:
        """Raw logits [N,K] of ``images`` [N,3,S,S] in [-1,1], for training."""
        return self.classify(self.features(images))

    def log_odds(self, images: Tensor) -> Tensor:
        """Calibrated log-odds [N,K] of ``images`` [N,3,S,S] in [-1,1]."""
        return self(images) * self.slope + self.offset
