"""`upfirdn2d`: zero insertion, padding, FIR filter, and decimation in one pass; and its everyday shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops import kernels, launch
from latentedit.cuda_ops.activation import Backend, check_backend
from latentedit.cuda_ops.filters import filter_size, parse_factor, parse_padding
from latentedit.cuda_ops.registration import register
from latentedit.cuda_ops.resample_reference import output_size, upfirdn2d_reference

Factor = int | Sequence[int]


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: Factor = 1,
    down: Factor = 1,
    padding: Factor = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    backend: Backend = "auto",
) -> Tensor:
    """Upsample by zero insertion, pad, filter, and downsample a batch of images.

    Legend: N images, C channels, H x W pixels. Every pixel is followed by ``up - 1`` zeros; the result is padded
    with zeros (or cropped, where negative), convolved with ``f`` without further padding, and every ``down``-th
    pixel is kept: ``H' = (H * up + y0 + y1 - kh) // down + 1``.

    Args:
        x: [N, C, H, W], any floating dtype, contiguous or channels-last.
        f: [kh, kw], or [k] applied along both axes, float32, as `setup_filter` makes it; None: no filter.
            It is a constant: no gradient flows into it.
        up: factor, or [x, y].
        down: factor, or [x, y].
        padding: pixels of the upsampled image: one number, [x, y], or [x0, x1, y0, y1]; negative crops.
        flip_filter: correlate instead of convolve.
        gain: factor of the result.
        backend: "auto" | "native" | "reference".

    Returns:
        [N, C, H', W'] of the dtype of ``x``; differentiable to any order in ``x``.

    Raises:
        ValueError: shapes or factors that fit no image, or an unknown backend.
        BackendError: ``backend="native"`` where the kernels cannot be had.
    """
    check_backend(backend, x)
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"x is [N, C, H, W] of a floating dtype, not {list(x.shape)} of {x.dtype}.")
    if f is not None and f.ndim not in (1, 2):
        raise ValueError(f"f has one or two dimensions, not shape {list(f.shape)}.")
    ups, downs, pads = parse_factor(up, "up"), parse_factor(down, "down"), parse_padding(padding)
    taps = filter_size(f)
    height = output_size(x.shape[2], ups[1], downs[1], pads[2], pads[3], taps[1])
    width = output_size(x.shape[3], ups[0], downs[0], pads[0], pads[1], taps[0])
    if height < 1 or width < 1:
        raise ValueError(
            f"A filter of {taps[0]}x{taps[1]} taps does not fit images of shape {list(x.shape)} "
            f"with up={up!r} and padding={padding!r}."
        )
    if backend == "reference":
        return upfirdn2d_reference(x, f, ups, downs, pads, flip_filter, float(gain))
    return _upfirdn2d(x, f, *ups, *downs, *pads, flip_filter, float(gain))


def _how(x: Tensor, f: Tensor | None, numbers: tuple[Any, ...]) -> kernels.Resampling:
    ux, uy, dx, dy, px0, px1, py0, py1, flip, gain = numbers
    kx, ky = filter_size(f)
    size = output_size(x.shape[2], uy, dy, py0, py1, ky), output_size(x.shape[3], ux, dx, px0, px1, kx)
    return kernels.Resampling((ux, uy), (dx, dy), (px0, px1, py0, py1), flip, gain, size)


def _forward(x: Tensor, f: Tensor | None, *numbers: Any) -> Tensor:
    how = _how(x, f, numbers)
    y = kernels.upfirdn2d(x, f, how)
    if y is None:
        y = upfirdn2d_reference(x, f, how.up, how.down, how.padding, how.flip, how.gain)
        y = y.contiguous(memory_format=launch.memory_format(x))
        y = y.clone() if y.data_ptr() == x.data_ptr() else y
    return y


def _fake(x: Tensor, f: Tensor | None, *numbers: Any) -> Tensor:
    size = _how(x, f, numbers).size
    layout = launch.memory_format(x)
    return torch.empty(*x.shape[:2], *size, dtype=x.dtype, device=x.device, memory_format=layout)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, f, *numbers = inputs
    ctx.numbers = tuple(numbers)
    ctx.size = x.shape[2:]
    ctx.save_for_backward(*([] if f is None else [f]))


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    """The adjoint of zero insertion is decimation and the other way round: the gradient is another upfirdn2d."""
    f = ctx.saved_tensors[0] if ctx.saved_tensors else None
    dx = _upfirdn2d(dy, f, *adjoint(ctx.numbers, ctx.size, dy.shape[2:], filter_size(f)))
    return dx, *[None] * 11


def adjoint(
    numbers: tuple[Any, ...], size: Sequence[int], out: Sequence[int], taps: tuple[int, int]
) -> tuple[Any, ...]:
    """Arguments of the transposed upfirdn2d, which maps images of size ``out`` (h, w) back to ``size``."""
    ux, uy, dx, dy, px0, _, py0, _, flip, gain = numbers
    kx, ky = taps
    (h, w), (oh, ow) = size, out
    pads_x = kx - px0 - 1, w * ux - ow * dx + px0 - ux + 1
    pads_y = ky - py0 - 1, h * uy - oh * dy + py0 - uy + 1
    return dx, dy, ux, uy, *pads_x, *pads_y, not flip, gain


_upfirdn2d = register(
    "upfirdn2d(Tensor x, Tensor? f, int up_x, int up_y, int down_x, int down_y, SymInt pad_x0, SymInt pad_x1, "
    "SymInt pad_y0, SymInt pad_y1, bool flip, float gain) -> Tensor",
    _forward,
    _fake,
    _backward,
    _setup,
)


def filter2d(
    x: Tensor,
    f: Tensor | None,
    *,
    padding: Factor = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    backend: Backend = "auto",
) -> Tensor:
    """Filter images [N, C, H, W]; with ``padding`` 0 they keep their size. Arguments as `upfirdn2d`."""
    kx, ky = filter_size(f)
    px0, px1, py0, py1 = parse_padding(padding)
    pads = [px0 + kx // 2, px1 + (kx - 1) // 2, py0 + ky // 2, py1 + (ky - 1) // 2]
    return upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=gain, backend=backend)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: Factor = 2,
    padding: Factor = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    backend: Backend = "auto",
) -> Tensor:
    """Enlarge images to [N, C, H * up, W * up] (``padding`` 0); ``f`` of sum 1 keeps the value of a constant image."""
    ux, uy = parse_factor(up, "up")
    kx, ky = filter_size(f)
    px0, px1, py0, py1 = parse_padding(padding)
    pads = [px0 + (kx + ux - 1) // 2, px1 + (kx - ux) // 2, py0 + (ky + uy - 1) // 2, py1 + (ky - uy) // 2]
    return upfirdn2d(x, f, up=(ux, uy), padding=pads, flip_filter=flip_filter, gain=gain * ux * uy, backend=backend)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    *,
    down: Factor = 2,
    padding: Factor = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    backend: Backend = "auto",
) -> Tensor:
    """Shrink images to [N, C, H // down, W // down] (``padding`` 0, sizes that ``down`` divides)."""
    dx, dy = parse_factor(down, "down")
    kx, ky = filter_size(f)
    px0, px1, py0, py1 = parse_padding(padding)
    pads = [px0 + (kx - dx + 1) // 2, px1 + (kx - dx) // 2, py0 + (ky - dy + 1) // 2, py1 + (ky - dy) // 2]
    return upfirdn2d(x, f, down=(dx, dy), padding=pads, flip_filter=flip_filter, gain=gain, backend=backend)
