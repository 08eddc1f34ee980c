"""Sharpness of pictures by the energy of their spectrum."""

from __future__ import annotations

import torch
from torch import Tensor


def band_energy(images: Tensor, low: float = 0.25, high: float = 0.5) -> float:
    """Mean spectral energy of images [N,3,R,R] between ``low`` and ``high`` cycles a pixel, Hann window applied."""
    size = images.shape[-1]
    window = torch.hann_window(size, periodic=False)
    grey = images.float().mean(dim=1)
    grey = (grey - grey.mean(dim=[1, 2], keepdim=True)) * window[:, None] * window[None, :]
    power = torch.fft.fft2(grey).abs().square()
    frequency = torch.fft.fftfreq(size)
    radius = (frequency[:, None].square() + frequency[None, :].square()).sqrt()
    return float(power[:, (radius >= low) & (radius < high)].mean())


def sharpness(images: Tensor, photos: Tensor) -> float:
    """Spectral energy of ``images`` between 1/4 and 1/2 cycle a pixel over that of ``photos``; 1 is as sharp."""
    return band_energy(images) / band_energy(photos)
