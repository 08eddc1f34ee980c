"""Where small heads start: their linear parts by least squares on wavelet coefficients.

Legend: ``C`` channels of the features at half the picture's side, ``M`` of those at its own, ``c`` of the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor


def coefficients(images: Tensor) -> Tensor:
    """Wavelet coefficients [N,4C,r,r], LL then LH, HL, HH, of images [N,C,2r,2r]: the inverse of `haar_cells`."""
    a, b = images[..., ::2, ::2], images[..., ::2, 1::2]
    c, d = images[..., 1::2, ::2], images[..., 1::2, 1::2]
    parts = [a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]
    return torch.cat(parts, dim=1) / 4


class LeastSquares:
    """A picture's wavelet coefficients from features at half its side, by weights for each of the four bands, and from
    features at its own side, by weights that all bands share: normal equations, one picture after another."""

    def __init__(self) -> None:
        self.gram: Tensor | float = 0.0
        self.product: Tensor | float = 0.0
        self.coarse = 0

    def add(self, coarse: Tensor, fine: Tensor, wanted: Tensor) -> None:
        """``coarse`` [C,r,r], and coefficients [4M,r,r] and [4c,r,r] of the fine features and of the picture."""
        x = coarse.flatten(1).float()
        details = fine.unflatten(0, (4, -1)).flatten(2).float()
        target = wanted.unflatten(0, (4, -1)).flatten(2).float()
        c, m = len(x), details.shape[1]
        self.coarse = c
        gram = torch.zeros(4 * c + m, 4 * c + m, dtype=torch.float64)
        product = torch.zeros(4 * c + m, target.shape[1], dtype=torch.float64)
        square = (x @ x.t()).double()
        for band in range(4):
            own = slice(band * c, band * c + c)
            cross = (x @ details[band].t()).double()
            gram[own, own] = square
            gram[own, 4 * c :] = cross
            gram[4 * c :, own] = cross.t()
            gram[4 * c :, 4 * c :] += (details[band] @ details[band].t()).double()
            product[own] = (x @ target[band].t()).double()
            product[4 * c :] += (details[band] @ target[band].t()).double()
        self.gram = self.gram + gram
        self.product = self.product + product

    def solve(self, ridge: float = 1e-5) -> tuple[Tensor, Tensor]:
        """Weights [4c,C] of the coarse features, in the order of `WaveletImage`, and [c,M] of the fine ones."""
        assert isinstance(self.gram, Tensor)
        assert isinstance(self.product, Tensor)
        c = self.coarse
        scale = self.gram.diagonal().clamp_min(1e-12).sqrt()
        normal = self.gram / scale[:, None] / scale
        normal.diagonal().add_(ridge)
        found = torch.linalg.solve(normal, self.product / scale[:, None]) / scale[:, None]
        bands = found[: 4 * c].reshape(4, c, -1).permute(0, 2, 1)
        return bands.reshape(-1, c).float(), found[4 * c :].t().float()
