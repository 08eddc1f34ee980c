"""Where an edit departs from the photo, so that what was refined for the photo no longer belongs there.

An inversion may change the generator's weights for its photo. They know the photo's glasses, not the eyes behind them:
carried into an edit, they leave a ghost of what the edit took away. Where the edit draws other shapes, or paints over
the face, the generator's own picture therefore takes over; where it only shades, the photo's refinement stays.
Domain-specific hybrid refinement (Cao et al. 2023) splits a picture for the same reason; here the edit says where.

Legend: ``N`` images, ``R`` resolution.
"""

from __future__ import annotations

from torch import Tensor

from latentedit.cuda_ops.blur import blurred, hann_window

_SMOOTH = 1 / 4
_NEAR = 1 / 7
_SOFT = 1 / 13
"""Widths of windows as shares of R: what is smooth beyond the first is shade, not shape; shapes reach as far as the
second; the border between the pictures is as soft as the third."""

_SHAPES = 0.2
_CHANGE = 0.6
"""Root mean squares, in images in [-1,1], of differing shapes and of any change, from which nothing of the photo stays:
a mask is one even patch, and far from the light that an edit may add."""


def departure(before: Tensor, after: Tensor) -> Tensor:
    """How far [N,1,R,R] in [0,1] ``after`` departs from ``before``, both [N,3,R,R]."""
    size = before.shape[-1]
    change = after - before
    shapes = change - _blurred(change, _SMOOTH * size)
    power = (shapes / _SHAPES).square() + (change / _CHANGE).square()
    strength = _blurred(power.mean(dim=1, keepdim=True), _NEAR * size)
    share = strength.clamp(0, 1).sqrt()
    return _blurred(share * share * (3 - 2 * share), _SOFT * size)


def _blurred(images: Tensor, width: float) -> Tensor:
    """``images`` [N,C,R,R] under a Hann window of about ``width`` pixels a side; edges are repeated."""
    return blurred(images, hann_window(2 * max(1, round(width / 2)) + 1, images), border="replicate")
