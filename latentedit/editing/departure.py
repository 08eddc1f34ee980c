"""Where an edit departs from the photo, so that what was refined for the photo no longer belongs there.

An inversion may change the generator's weights for its photo. They know the photo's glasses, not the eyes behind them:
carried into an edit, they leave a ghost of what the edit took away. Where the edit draws other shapes the generator's
own picture therefore takes over; where it only shades, the photo's refinement stays. Domain-specific hybrid refinement
(Cao et al. 2023) splits a picture for the same reason; here the edit itself says where.

Legend: ``N`` images, ``R`` resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SMOOTH = 1 / 4
_NEAR = 1 / 7
_SOFT = 1 / 13
"""Widths of windows as shares of R: what is smooth beyond the first is shade, not shape; shapes reach as far as the
second; the border between the pictures is as soft as the third."""

_FULL = 0.2  # root mean square of the shapes that differ, in images in [-1,1], from which nothing of the photo stays


def departure(before: Tensor, after: Tensor) -> Tensor:
    """How far [N,1,R,R] in [0,1] the shapes in ``after`` depart from those in ``before``, both [N,3,R,R]."""
    size = before.shape[-1]
    change = after - before
    shapes = change - _blurred(change, _SMOOTH * size)
    strength = _blurred(shapes.square().mean(dim=1, keepdim=True), _NEAR * size).clamp_min(0).sqrt()
    share = (strength / _FULL).clamp(max=1)
    return _blurred(share * share * (3 - 2 * share), _SOFT * size)


def _blurred(images: Tensor, width: float) -> Tensor:
    """``images`` [N,C,R,R] under a Hann window of about ``width`` pixels a side; edges are repeated."""
    reach = max(1, round(width / 2))
    window = torch.hann_window(2 * reach + 3, periodic=False, dtype=images.dtype, device=images.device)[1:-1]
    window = (window / window.sum()).expand(images.shape[1], 1, 1, -1)
    channels = images.shape[1]
    across = nn.functional.pad(images, (reach, reach, 0, 0), mode="replicate")
    down = nn.functional.pad(
        nn.functional.conv2d(across, window, groups=channels), (0, 0, reach, reach), mode="replicate"
    )
    return nn.functional.conv2d(down, window.transpose(2, 3), groups=channels)
