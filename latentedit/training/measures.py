"""Measures of a generator's progress: Fréchet distance in perception features, and sharpness of the spectrum."""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg
from torch import Tensor


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to features [N,D] and [M,D] (Heusel et al. 2017, eq. 6)."""
    mean = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b)
    return float(mean + np.trace(cov_a + cov_b - 2 * np.real(root)))


def frechet_multiple(samples: np.ndarray, photos: np.ndarray, *, seed: int = 0) -> float:
    """Distance of ``samples`` to ``photos`` as a multiple of that between two halves of ``photos``; 1 is perfect.

    The samples are cut to half the number of photos, since the estimate's bias depends on the number.
    """
    order = np.random.default_rng(seed).permutation(len(photos))
    half = len(photos) // 2
    first, second = photos[order[:half]], photos[order[half : 2 * half]]
    if len(samples) < half:
        raise ValueError(f"{len(samples)} samples are fewer than half of {len(photos)} photos.")
    return frechet_distance(samples[:half], first) / frechet_distance(second, first)


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
