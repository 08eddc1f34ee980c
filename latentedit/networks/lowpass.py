"""Low-pass filters by the Kaiser window (Karras et al. 2021, appendix C.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def design_lowpass(taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> Tensor | None:
    """Filter coefficients of sum 1 that pass frequencies below ``cutoff`` and stop those above ``cutoff + width / 2``.

    Args:
        taps: length; 1 gives None, the identity.
        cutoff: in cycles per unit.
        width: of the transition band, centred at the cutoff.
        rate: samples per unit.
        radial: the two-dimensional filter that treats all directions alike (jinc instead of sinc).

    Returns:
        float32 [taps], to be applied along both axes, or [taps, taps] where ``radial``; on the CPU.
    """
    if taps == 1:
        return None
    attenuation = 2.285 * (taps - 1) * np.pi * width / (rate / 2) + 7.95
    window = np.kaiser(taps, _kaiser_beta(attenuation))
    position = (np.arange(taps) - (taps - 1) / 2) / rate
    if not radial:
        f = np.sinc(2 * cutoff * position) * window
    else:
        from scipy.special import j1

        radius = np.hypot(*np.meshgrid(position, position))
        safe = np.where(radius == 0, 1.0, radius)
        jinc = np.where(radius == 0, np.pi * cutoff, j1(2 * np.pi * cutoff * safe) / safe)
        f = jinc * np.outer(window, window)
    return torch.as_tensor(f / f.sum(), dtype=torch.float32)


def _kaiser_beta(attenuation: float) -> float:
    """Shape of the Kaiser window for ``attenuation`` in dB (Kaiser 1974)."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0
