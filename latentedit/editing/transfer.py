"""What of an edit is carried over into the photo.

A generator of 64 px cannot draw pores or lashes, and its rebuilding of a face is never quite the photo. But it knows
what an edit changes: the difference between the edited and the unedited render. That difference is what goes into the
photo, and what the generator missed stays as it was photographed, except where the edit is so large that it would
show through: teeth behind closed lips, an eyebrow under the rim of glasses.

Legend: ``R`` resolution of the renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentedit.cuda_ops.blur import blurred, gaussian_window


@dataclass(frozen=True)
class TransferConfig:
    """Local amounts are root mean squares over the channels, with images in [-1,1].

    Changes well below ``floor`` are the generator's restlessness rather than the edit, and are left out. Between
    ``kept`` and ``replaced`` a change of shape takes over: what the photo shows there beyond the unedited render is
    given up, but for its colour and light; a broad change of light or complexion counts by what it exceeds ``light``.
    Where the unedited render is off the photo by more than ``missed`` (in full
    from ``occluded`` on), the photo shows something that the latent does not know, such as a mask that the inversion
    looked through: there the render itself is taken, because a difference means nothing on top of something else.
    """

    floor: float = 0.02
    light: float = 0.25
    kept: float = 0.10
    replaced: float = 0.30
    missed: float = 0.45
    occluded: float = 0.8


def transfer_change(photo: Tensor, before: Tensor, after: Tensor, config: TransferConfig | None = None) -> Tensor:
    """The crop ``photo`` [1,3,R,R] with the change from ``before`` to ``after`` ([1,3,R,R]) in it; all in [-1,1]."""
    config = config or TransferConfig()
    size = photo.shape[-1]
    change, missed = after - before, photo - before
    amount = blur(change.square().mean(dim=1, keepdim=True), 0.03 * size)
    carried = photo + change * amount / (amount + config.floor**2)
    drawn = after + blur(missed, 0.08 * size)
    # A change of light or complexion moves large areas alike: nothing shows through there.
    structural = torch.maximum((change - blur(change, 0.1 * size)).abs(), change.abs() - config.light)
    result = torch.lerp(carried, drawn, local_share(structural, config.kept, config.replaced))
    return torch.lerp(result, after, local_share(missed, config.missed, config.occluded))


def local_share(difference: Tensor, low: float, high: float) -> Tensor:
    """[1,1,R,R] in [0,1]: from 0 where a ``difference`` [1,3,R,R] is locally below ``low`` to 1 above ``high``.

    Spread by a few hundredths of the picture, so that no outline stays behind.
    """
    size = difference.shape[-1]
    amount = blur(difference.square().mean(dim=1, keepdim=True), 0.03 * size).sqrt()
    share = ((amount - low) / (high - low)).clamp(0, 1)
    radius = max(1, round(0.03 * size))
    spread = F.max_pool2d(share, 2 * radius + 1, stride=1, padding=radius)
    return blur(spread, 0.02 * size).clamp(0, 1)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur [N,C,H,W] with reflected borders."""
    radius = min(int(np.ceil(3 * sigma)), images.shape[-1] - 1, images.shape[-2] - 1)
    if radius < 1:
        return images
    return blurred(images, gaussian_window(2 * radius + 1, sigma, images), border="reflect")
