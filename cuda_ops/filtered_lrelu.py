"""`filtered_lrelu`: leaky ReLU between an upsampling and a downsampling filter (Karras et al. 2021, figure 4b)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops import kernels, launch
from latentedit.cuda_ops.activation import Backend, _bias_act, _slope, check_backend
from latentedit.cuda_ops.activation_reference import bias_act_reference, default_gain
from latentedit.cuda_ops.epilogue import Epilogue
from latentedit.cuda_ops.filters import filter_size, parse_padding
from latentedit.cuda_ops.launch import pointer
from latentedit.cuda_ops.registration import register
from latentedit.cuda_ops.resample import Factor, _upfirdn2d, adjoint
from latentedit.cuda_ops.resample_reference import output_size, upfirdn2d_reference


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Factor = 0,
    gain: float = default_gain("lrelu"),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Bias, upsample by ``fu``, leaky ReLU with gain and clamp, downsample by ``fd``: a nonlinearity without aliasing.

    Legend: N images, C channels, H x W pixels. ``H' = (H * up + y0 + y1 - (ku - 1) - (kd - 1) + (down - 1)) // down``.

    Args:
        x: [N, C, H, W], any floating dtype, contiguous or channels-last.
        fu: filter after zero insertion, as `setup_filter` makes it, [k] or [kh, kw]; None: no filter. It is constant.
        fd: filter before decimation, likewise.
        b: bias [C], added first; None: none.
        up: factor of the upsampling.
        down: factor of the downsampling.
        padding: pixels of the upsampled image: one number, [x, y], or [x0, x1, y0, y1]; negative crops.
        gain: factor after the leaky ReLU, not 0.
        slope: factor of negative values, at least 0.
        clamp: limit of the absolute value after the gain; None: none.
        flip_filter: correlate instead of convolve.
        backend: "auto" | "native" | "reference".

    Returns:
        [N, C, H', W'] of the dtype of ``x``; differentiable to any order in ``x`` and ``b``.

    Raises:
        ValueError: shapes or factors that fit no image, or an unknown backend.
        BackendError: ``backend="native"`` where the kernels cannot be had.
    """
    check_backend(backend, x)
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"x is [N, C, H, W] of a floating dtype, not {list(x.shape)} of {x.dtype}.")
    if b is not None and list(b.shape) != [x.shape[1]]:
        raise ValueError(f"b of shape {list(b.shape)} does not fit the {x.shape[1]} channels of x.")
    if up < 1 or down < 1 or (clamp is not None and clamp < 0) or slope < 0 or gain == 0:
        raise ValueError(f"{up=}, {down=}, {clamp=}, {slope=} or {gain=} is out of range.")
    pads = parse_padding(padding)
    if min(*_inner_size(x, fu, up, pads), *_size(x, fu, fd, (up, down, *pads))) < 1:
        raise ValueError(f"The filters do not fit images of shape {list(x.shape)} with {up=} and {padding=}.")
    spec = (up, down, *pads, float(gain), float(slope), -1.0 if clamp is None else float(clamp), flip_filter)
    return (_reference if backend == "reference" else _filtered_lrelu)(x, fu, fd, b, *spec)


def _inner_size(x: Tensor, fu: Tensor | None, up: int, pads: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the upsampled image that the leaky ReLU works on."""
    kx, ky = filter_size(fu)
    height = output_size(x.shape[2], up, 1, pads[2], pads[3], ky)
    return height, output_size(x.shape[3], up, 1, pads[0], pads[1], kx)


def _reference(x: Tensor, fu: Tensor | None, fd: Tensor | None, b: Tensor | None, *spec: Any) -> Tensor:
    """The specification in plain PyTorch, differentiable to any order."""
    up, down, px0, px1, py0, py1, gain, slope, clamp, flip = spec
    x = bias_act_reference(x, b, 1, "linear", 0.0, 1.0, -1.0)
    x = upfirdn2d_reference(x, fu, (up, up), (1, 1), (px0, px1, py0, py1), flip, float(up**2))
    x = bias_act_reference(x, None, 0, "lrelu", slope, gain, clamp)
    return upfirdn2d_reference(x, fd, (1, 1), (down, down), (0, 0, 0, 0), flip, 1.0)


def _forward(x: Tensor, fu: Tensor | None, fd: Tensor | None, b: Tensor | None, *spec: Any) -> Tensor:
    """One pass on the CPU; elsewhere the kernels of `upfirdn2d`, the leaky ReLU riding on the first."""
    y = _fused(x, fu, fd, b, spec)
    y = _two_passes(x, fu, fd, b, spec) if y is None else y
    if y is None:
        y = _reference(x, fu, fd, b, *spec).contiguous(memory_format=launch.memory_format(x))
        y = y.clone() if y.data_ptr() == x.data_ptr() else y
    return y


def _fused(x: Tensor, fu: Tensor | None, fd: Tensor | None, b: Tensor | None, spec: tuple[Any, ...]) -> Tensor | None:
    """The kernel that never holds the upsampled image; None where there is none for ``x`` or its filters."""
    up, down, *pads, gain, slope, clamp, flip = spec
    library = launch.find(x.device) if x.device.type == "cpu" and x.dtype in launch.DTYPES else None
    square = fd is None or fd.ndim == 1 or fd.shape[0] == fd.shape[1]
    if library is None or not square or launch.is_channels_last(x) or (fu is not None and fu.ndim != 1):
        return None
    x = x.contiguous()
    y = launch.empty((*x.shape[:2], *_size(x, fu, fd, spec)), x)
    if y.numel() == 0:
        return y
    one = torch.ones(1)
    rise = one if fu is None else fu.detach().float().contiguous()
    fall = one if fd is None else fd.detach().float().contiguous()
    bias = None if b is None else b.detach().to(x.dtype).contiguous()
    status = library.le_filtered_lrelu(
        launch.DTYPES[x.dtype], *map(pointer, (x, rise, fall, bias, y)), *x.shape, *y.shape[2:],
        len(rise), len(fall), int(fall.ndim == 1), up, down, *pads, gain, slope, clamp, int(flip),
        torch.get_num_threads(),
    )  # fmt: skip
    launch.check("le_filtered_lrelu", status)
    return y


def _two_passes(
    x: Tensor, fu: Tensor | None, fd: Tensor | None, b: Tensor | None, spec: tuple[Any, ...]
) -> Tensor | None:
    up, down, px0, px1, py0, py1, gain, slope, clamp, flip = spec
    epilogue = Epilogue(None, None, None, "lrelu", slope, gain, clamp)
    biased = x if b is None else x + b.to(x.dtype)[:, None, None]
    first = kernels.Resampling(
        (up, up), (1, 1), (px0, px1, py0, py1), flip, float(up**2), _inner_size(x, fu, up, (px0, px1, py0, py1))
    )
    inner = kernels.upfirdn2d(biased, fu, first, epilogue=epilogue)
    then = kernels.Resampling((1, 1), (down, down), (0, 0, 0, 0), flip, 1.0, _size(x, fu, fd, spec))
    return None if inner is None else kernels.upfirdn2d(inner, fd, then)


def _size(x: Tensor, fu: Tensor | None, fd: Tensor | None, spec: tuple[Any, ...]) -> tuple[int, int]:
    height, width = _inner_size(x, fu, spec[0], spec[2:6])
    kx, ky = filter_size(fd)
    return output_size(height, 1, spec[1], 0, 0, ky), output_size(width, 1, spec[1], 0, 0, kx)


def _fake(x: Tensor, fu: Tensor | None, fd: Tensor | None, b: Tensor | None, *spec: Any) -> Tensor:
    layout = launch.memory_format(x)
    return torch.empty(*x.shape[:2], *_size(x, fu, fd, spec), dtype=x.dtype, device=x.device, memory_format=layout)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, fu, fd, b, *spec = inputs
    ctx.spec = tuple(spec)
    ctx.present = [tensor is not None for tensor in (fu, fd, b)]
    ctx.save_for_backward(x, *(tensor for tensor in (fu, fd, b) if tensor is not None))


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    """Up and down change places, and the leaky ReLU becomes its slope.

    The upsampled image, four times the input or more, is computed again instead of being kept.
    """
    saved = iter(ctx.saved_tensors)
    x = next(saved)
    fu, fd, b = (next(saved) if here else None for here in ctx.present)
    up, down, px0, px1, py0, py1, gain, slope, clamp, flip = ctx.spec
    biased = x if b is None else x + b.to(x.dtype)[:, None, None]
    rise = (up, up, 1, 1, px0, px1, py0, py1, flip, float(up**2))
    fall = (1, 1, down, down, 0, 0, 0, 0, flip, 1.0)
    act = ("lrelu", slope, gain, clamp)
    ref = _bias_act(_upfirdn2d(biased, fu, *rise), None, 0, *act)
    g = _upfirdn2d(dy, fd, *adjoint(fall, ref.shape[2:], dy.shape[2:], filter_size(fd)))
    g = _slope(g, ref, None, 0, *act)
    dx = _upfirdn2d(g, fu, *adjoint(rise, x.shape[2:], ref.shape[2:], filter_size(fu)))
    db = dx.sum(dim=(0, 2, 3)) if b is not None and ctx.needs_input_grad[3] else None
    return dx, None, None, db, *[None] * 10


_filtered_lrelu = register(
    "filtered_lrelu(Tensor x, Tensor? fu, Tensor? fd, Tensor? b, int up, int down, SymInt pad_x0, SymInt pad_x1, "
    "SymInt pad_y0, SymInt pad_y1, float gain, float slope, float clamp, bool flip) -> Tensor",
    _forward,
    _fake,
    _backward,
    _setup,
)
