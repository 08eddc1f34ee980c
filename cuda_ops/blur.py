"""Blurring with a window of choice along both axes, in plain PyTorch; gradients of any order come of themselves.

Legend: ``N`` images, ``C`` channels, ``H, W`` pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_window(taps: int, sigma: float, like: Tensor) -> Tensor:
    """[taps] of sum 1: a Gaussian of ``sigma`` pixels, of the dtype and on the device of ``like``."""
    offset = torch.arange(taps, dtype=like.dtype, device=like.device) - (taps - 1) / 2
    window = torch.exp(-offset.square() / (2 * sigma**2))
    return window / window.sum()


def hann_window(taps: int, like: Tensor) -> Tensor:
    """[taps] of sum 1 without zeros at its ends, of the dtype and on the device of ``like``."""
    window = torch.hann_window(taps + 2, periodic=False, dtype=like.dtype, device=like.device)[1:-1]
    return window / window.sum()


def blurred(
    images: Tensor, across: Tensor, down: Tensor | None = None, *, border: Literal["reflect", "replicate", "valid"]
) -> Tensor:
    """``images`` [N, C, H, W] filtered along rows by ``across`` [k], and along columns by ``down`` (the same).

    ``border``: how pixels outside are made up for windows of odd length, so that the size stays; "valid" takes only
    windows that lie inside, so that ``k - 1`` pixels are lost.
    """
    down = across if down is None else down
    channels = images.shape[1]
    for window, dims in ((across, (1, -1)), (down, (-1, 1))):
        reach = len(window) // 2
        if border != "valid":
            images = F.pad(images, (0, 0, reach, reach) if dims[1] == 1 else (reach, reach, 0, 0), mode=border)
        images = F.conv2d(images, window.view(1, 1, *dims).expand(channels, 1, *[-1] * 2), groups=channels)
    return images
