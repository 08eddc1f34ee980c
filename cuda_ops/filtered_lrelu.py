"""`filtered_lrelu`: leaky ReLU between an upsampling and a downsampling filter (Karras et al. 2021, figure 4b)."""

from __future__ import annotations

from math import sqrt

from torch import Tensor

from latentedit.cuda_ops.activation import Backend, bias_act
from latentedit.cuda_ops.resample import Factor, upfirdn2d


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Factor = 0,
    gain: float = sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Bias, upsample by ``fu``, leaky ReLU with gain and clamp, downsample by ``fd``: a nonlinearity without aliasing.

    Legend: N images, C channels, H x W pixels. ``H' = (H * up + y0 + y1 - (ku - 1) - (kd - 1) + (down - 1)) // down``.

    Args:
        x: [N, C, H, W], any floating dtype.
        fu: filter after zero insertion, as `setup_filter` makes it, [k] or [kh, kw]; None: no filter. It is constant.
        fd: filter before decimation, likewise.
        b: bias [C], added first; None: none.
        up: factor of the upsampling.
        down: factor of the downsampling.
        padding: pixels of the upsampled image: one number, [x, y], or [x0, x1, y0, y1]; negative crops.
        gain: factor after the leaky ReLU.
        slope: negative slope.
        clamp: limit of the absolute value after the gain; None: none.
        flip_filter: correlate instead of convolve.
        backend: "auto" | "native" | "reference", for each of the three stages.

    Returns:
        [N, C, H', W'] of the dtype of ``x``; differentiable to any order in ``x`` and ``b``.

    Raises:
        ValueError: shapes or factors that fit no image, or an unknown backend.
    """
    x = bias_act(x, b, backend=backend) if b is not None else x
    x = upfirdn2d(x, fu, up=up, padding=padding, gain=float(up**2), flip_filter=flip_filter, backend=backend)
    x = bias_act(x, act="lrelu", alpha=slope, gain=gain, clamp=clamp, backend=backend)
    return upfirdn2d(x, fd, down=down, flip_filter=flip_filter, backend=backend)
