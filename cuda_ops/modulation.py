"""The mathematics of modulated convolutions (Karras et al. 2020, eqs. 1-3), for kernels and networks alike.

Legend: ``N`` images, ``I``/``O`` input/output channels, ``k`` kernel size.

float16 overflows at 65504: there `bounded` and `tamed` bring styles and weights near 1, which demodulation undoes.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-8
_TINY = 1e-12  # what a row of zeros is divided by, so that it stays zero rather than NaN


def bounded(styles: Tensor, dtype: torch.dtype) -> Tensor:
    """``styles`` [N, I] as activations of ``dtype`` are multiplied by them: at most 1 in float16, else as they are."""
    return styles / styles.abs().amax(dim=1, keepdim=True).clamp_min(_TINY) if dtype == torch.float16 else styles


def tamed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight`` [O, I, k, k] as it convolves activations of ``dtype``: filters of a norm below 1 in float16."""
    if dtype != torch.float16:
        return weight
    largest = weight.abs().amax(dim=[1, 2, 3], keepdim=True).clamp_min(_TINY)
    return weight * (weight[0].numel() ** -0.5 / largest)


def energy(weight: Tensor) -> Tensor:
    """[O, I]: squared norms of the kernels of ``weight`` [O, I, k, k]."""
    return weight.square().sum(dim=[2, 3])


def demodulation(styles: Tensor, energies: Tensor) -> Tensor:
    """[N, O]: one over the norms of the modulated filters (eq. 3), of `bounded` styles and `energy`."""
    return (styles.square() @ energies.t() + EPS).rsqrt()
