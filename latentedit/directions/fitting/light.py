"""What a picture's light and colour are, as scores: directions that leak into them would repaint the whole face.

Photos of old faces are redder, and those of made-up ones brighter, so machines find the light along with the face.
Legend: ``N`` images, ``R`` resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentedit.attributes import TABLE

LIGHT = tuple(attribute.name for attribute in TABLE if attribute.group == "light")
"""Names of the scores of `light_scores`."""

_MARGIN = 0.2  # share of each side that is background more often than face
_LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709


def light_scores(images: Tensor) -> dict[str, Tensor]:
    """Mean luma, mean red less mean blue, and standard deviation of the luma, each [N], of the middle of ``images``
    [N,3,R,R] in [-1,1]."""
    size = images.shape[-1]
    edge = round(_MARGIN * size)
    middle = images.clamp(-1, 1)[..., edge : size - edge, edge : size - edge]
    red, green, blue = middle.unbind(1)
    luma = torch.stack([weight * channel for weight, channel in zip(_LUMA, (red, green, blue), strict=True)]).sum(0)
    return {
        "brightness": luma.mean((1, 2)),
        "warmth": (red - blue).mean((1, 2)),
        "contrast": luma.flatten(1).std(dim=1),
    }
