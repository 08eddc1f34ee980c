"""Calls into the native libraries: layouts, pointers, the current stream. The CPU and the CUDA library look alike.

Every function takes tensors that it may use as they are (dense, one device) and returns None where the library has no
kernel for them, so that the caller runs the reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops.activation_reference import ACTIVATIONS
from latentedit.cuda_ops.interface import EpilogueStruct
from latentedit.cuda_ops.native import find
from latentedit.cuda_ops.weights import prepared

_DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.float64: 3}


@dataclass(frozen=True)
class Epilogue:
    """What follows a convolution: ``clamp(act(x * scale + noise + bias) * gain) * post``; all tensors float32.

    Attributes:
        scale: [N, C] demodulation, or None.
        noise: [N or 1, 1, H, W], strength included, or None.
        bias: [C], or None.
        post: [N, C] modulation of the next convolution, or None.
        act, alpha, gain, clamp: as in `bias_act`, none of them None; a negative clamp means none.
    """

    scale: Tensor | None
    noise: Tensor | None
    bias: Tensor | None
    post: Tensor | None
    act: str
    alpha: float
    gain: float
    clamp: float

    def of(self, image: int) -> Epilogue:
        """The epilogue of one image of the batch."""

        def row(t: Tensor | None) -> Tensor | None:
            return t if t is None or t.shape[0] == 1 else t[image : image + 1]

        return replace(self, scale=row(self.scale), noise=row(self.noise), post=row(self.post))

    def struct(self) -> EpilogueStruct:
        """The C view; valid while the tensors live."""
        shared = self.noise is None or self.noise.shape[0] == 1
        return EpilogueStruct(
            _pointer(self.scale),
            _pointer(self.noise),
            _pointer(self.bias),
            _pointer(self.post),
            0 if shared or self.noise is None else self.noise[0].numel(),
            ACTIVATIONS[self.act].index,
            self.alpha,
            self.gain,
            self.clamp,
        )


def memory_format(x: Tensor) -> torch.memory_format:
    """The dense layout in which results for ``x`` are laid out: channels-last only where ``x`` is nothing else."""
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def is_channels_last(x: Tensor) -> bool:
    """Whether ``x`` is laid out channels-last and not otherwise."""
    return memory_format(x) is torch.channels_last


def bias_act(
    order: int, tensors: dict[str, Tensor], b: Tensor | None, dim: int, spec: tuple[Any, ...]
) -> Tensor | None:
    """``order``-th derivative; ``tensors`` are those of x, y, dy, v that it needs, the one that rules the layout first.

    ``spec`` is (act, alpha, gain, clamp).
    """
    main = next(iter(tensors.values()))
    call = _function("le_bias_act", main)
    if call is None:
        return None
    layout = memory_format(main) if dim == 1 else torch.contiguous_format
    tensors = {name: t.contiguous(memory_format=layout) for name, t in tensors.items()}
    out = torch.empty(main.shape, dtype=main.dtype, device=main.device, memory_format=layout)
    if layout is torch.channels_last:
        outer, channels, inner = out.numel() // max(out.shape[1], 1), out.shape[1], 1
    else:
        channels = out.shape[dim] if out.ndim else 1
        inner = _product(out.shape[dim + 1 :])
        outer = _product(out.shape[:dim])
    b = None if b is None else b.to(main.dtype).contiguous()
    act, alpha, gain, clamp = spec
    operands = [_pointer(t) for t in (tensors.get("x"), b, tensors.get("y"), tensors.get("dy"), tensors.get("v"), out)]
    call(order, *operands, outer, channels, inner, ACTIVATIONS[act].index, alpha, gain, clamp)
    return out


@dataclass(frozen=True)
class Resampling:
    """Arguments of `upfirdn2d` in the order (x, y) and (x0, x1, y0, y1); ``size`` is (height, width) of the result."""

    up: tuple[int, int]
    down: tuple[int, int]
    padding: tuple[int, int, int, int]
    flip: bool
    gain: float
    size: tuple[int, int]


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    how: Resampling,
    *,
    epilogue: Epilogue | None = None,
    add: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor | None:
    """Resample, then apply the epilogue, then add ``add``; ``add`` and ``out`` have the shape of the result."""
    call = _function("le_upfirdn2d", x)
    if call is None or (x.dtype == torch.float64 and epilogue is not None):
        return None
    if f is not None and f.ndim == 1 and f.numel() > 4 and _is_cuda(x) and epilogue is None and add is None:
        return _two_passes(x, f, how)
    if epilogue is not None and _is_cuda(x) and not ACTIVATIONS[epilogue.act].piecewise_linear:
        y = upfirdn2d(x, f, how, out=out)  # the fused kernel knows no other activations
        return None if y is None else _overwrite(y, epilogue)
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    n, channels, height, width = x.shape
    if out is None:
        out = torch.empty(n, channels, *how.size, dtype=x.dtype, device=x.device, memory_format=layout)
    add = None if add is None else add.to(x.dtype).contiguous(memory_format=layout)
    f = torch.ones(1, 1, device=x.device) if f is None else f.detach().to(device=x.device, dtype=torch.float32)
    separable = f.ndim == 1
    kx, ky = f.shape[-1], f.shape[0]
    f = torch.cat([f, f]) if separable else f.contiguous()
    struct = None if epilogue is None else epilogue.struct()
    call(
        _pointer(x), _pointer(f), _pointer(add), _pointer(out), n, channels, height, width, *how.size,
        int(layout is torch.channels_last), kx, ky, int(separable), *how.up, *how.down, how.padding[0], how.padding[2],
        int(how.flip), how.gain, None if struct is None else ctypes.addressof(struct),
    )  # fmt: skip
    return out


def _overwrite(y: Tensor, what: Epilogue) -> Tensor | None:
    return epilogue(y, what, inplace=True)


def _two_passes(x: Tensor, f: Tensor, how: Resampling) -> Tensor | None:
    """A long separable filter along x, then along y: the GPU kernel itself would take the whole product of both."""
    gain = abs(how.gain) ** 0.5
    px0, px1, py0, py1 = how.padding
    across = Resampling((how.up[0], 1), (how.down[0], 1), (px0, px1, 0, 0), how.flip, gain, (x.shape[2], how.size[1]))
    along = Resampling(
        (1, how.up[1]), (1, how.down[1]), (0, 0, py0, py1), how.flip, gain if how.gain >= 0 else -gain, how.size
    )
    y = upfirdn2d(x, f[None, :], across)
    return None if y is None else upfirdn2d(y, f[:, None], along)


def epilogue(x: Tensor, what: Epilogue, *, inplace: bool = False) -> Tensor | None:
    """Apply an epilogue to ``x`` [N, C, H, W], or overwrite it where it is dense and ``inplace``."""
    call = _function("le_epilogue", x)
    if call is None or x.dtype == torch.float64:
        return None
    layout = memory_format(x)
    x = x.contiguous(memory_format=layout)
    out = x if inplace else torch.empty_like(x, memory_format=layout)
    struct = what.struct()
    call(_pointer(x), _pointer(out), *x.shape, int(layout is torch.channels_last), ctypes.addressof(struct))
    return out


def epilogue_grad(
    dy: Tensor, y: Tensor, what: Epilogue, *, want_noise: bool
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Gradient of `epilogue` from its output ``y``: (dx, dscale [N, C], dnoise [N, 1, H, W] or None).

    Only for "linear" and "lrelu" with positive alpha and gain, without ``post``; channels-last.
    """
    call = _function("le_epilogue_grad", y)
    if call is None or y.dtype == torch.float64:
        return None
    y = y.contiguous(memory_format=torch.channels_last)
    dy = dy.to(y.dtype).contiguous(memory_format=torch.channels_last)
    n, channels, height, width = y.shape
    parts = _parts(n, height * width, y)
    dx = torch.empty_like(y, memory_format=torch.channels_last)
    sums = torch.empty(parts, n, channels, dtype=torch.float32, device=y.device)
    groups = channels // find(y.device).le_group(_DTYPES[y.dtype], channels)  # type: ignore[union-attr]
    noise = torch.empty(n, groups, height, width, dtype=torch.float32, device=y.device) if want_noise else None
    struct = what.struct()
    operands = [_pointer(t) for t in (dy, y, dx, sums, noise)]
    call(*operands, n, channels, height, width, parts, ctypes.addressof(struct))
    if noise is not None and groups > 1:
        noise = noise.sum(dim=1, keepdim=True)
    return dx, sums.sum(dim=0), noise


def modulation_grad(g: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor] | None:
    """Gradient of ``x * styles[:, :, None, None]`` from ``g``: (dx, dstyles [N, C]); channels-last."""
    call = _function("le_modulation_grad", x)
    if call is None or x.dtype == torch.float64:
        return None
    x = x.contiguous(memory_format=torch.channels_last)
    g = g.to(x.dtype).contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    parts = _parts(n, height * width, x)
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    sums = torch.empty(parts, n, channels, dtype=torch.float32, device=x.device)
    call(*[_pointer(t) for t in (g, x, styles.float().contiguous(), dx, sums)], n, channels, height, width, parts)
    return dx, sums.sum(dim=0)


def can_fuse(x: Tensor, act: str) -> bool:
    """Whether `epilogue` and its gradient exist for tensors like ``x``."""
    return x.dtype != torch.float64 and _function("le_epilogue", x) is not None


WINOGRAD_FROM = 256
"""Pixels from which the products that Winograd's algorithm saves outweigh reading four times the weights."""


def winograd(
    x: Tensor, weight: Tensor, styles: Tensor | None, what: Epilogue | None, *, backward: bool = False
) -> Tensor | None:
    """3x3 convolution of ``x * styles`` with padding 1, then the epilogue; float32 on the CPU.

    ``backward``: the transposed convolution instead, which maps gradients of the outputs to the inputs. Relative error
    2e-5 of the largest value, ten times that of the direct algorithm. Only for parameters, which come again: results of
    a computation are not worth preparing.
    """
    out, channels = weight.shape[1::-1] if backward else weight.shape[:2]
    eligible = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and weight.shape[2:] == (3, 3)
    if not eligible or not isinstance(weight, torch.nn.Parameter) or x.shape[2] * x.shape[3] < WINOGRAD_FROM:
        return None
    library = find(x.device)
    if not hasattr(library, "le_winograd") or (what is not None and what.act not in ("linear", "relu", "lrelu")):
        return None
    assert library is not None
    if not library.le_winograd_fits(channels, out):
        return None
    threads = torch.get_num_threads()

    def make(w: Tensor) -> Tensor:
        w, transformed = w.contiguous(), torch.empty(36 * w.shape[0] * w.shape[1])
        library.le_winograd_prepare(_pointer(w), _pointer(transformed), w.shape[0], w.shape[1], int(backward), threads)
        return transformed

    transformed = prepared(weight, f"winograd-{backward}", make)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty(x.shape[0], out, *x.shape[2:], memory_format=torch.channels_last)
    styles = None if styles is None else styles.contiguous()
    struct = None if what is None else what.struct()
    status = library.le_winograd(
        _pointer(x), _pointer(transformed), _pointer(styles), _pointer(y), x.shape[0], channels, out, *x.shape[2:],
        None if struct is None else ctypes.addressof(struct), threads,
    )  # fmt: skip
    _check("le_winograd", status)
    return y


def _parts(images: int, pixels: int, x: Tensor) -> int:
    """Into how many parts an image's pixels are cut for reductions; by shape alone, so that results are repeatable."""
    if x.device.type == "cpu":
        return max(1, min(16, pixels // 256))
    return max(1, min(256, pixels // 64))


def _function(name: str, x: Tensor) -> Callable[..., None] | None:
    """The kernel ``name`` for the device and dtype of ``x``, with dtype and stream or thread count filled in."""
    dtype = _DTYPES.get(x.dtype)
    if dtype is None or (dtype == 3 and x.device.type != "cpu"):
        return None
    library = find(x.device)
    function = None if library is None else getattr(library, name, None)
    if function is None:
        return None
    if x.device.type == "cpu":
        threads = torch.get_num_threads()
        return lambda *args: _check(name, function(dtype, *args, threads))

    def launch(*args: Any) -> None:
        with torch.cuda.device(x.device):
            _check(name, function(dtype, *args, torch.cuda.current_stream().cuda_stream), library)

    return launch


def _is_cuda(x: Tensor) -> bool:
    """Whether the CUDA library serves ``x``: on a GPU, or in emulation."""
    return hasattr(find(x.device), "le_error")


def _check(name: str, status: int, library: ctypes.CDLL | None = None) -> None:
    if status > 0 and hasattr(library, "le_error"):
        raise RuntimeError(f"{name} could not be launched: {library.le_error(status).decode()}.")  # type: ignore
    if status:
        raise RuntimeError(f"{name} does not take tensors of this dtype or size.")


def _pointer(t: Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


def _product(sizes: torch.Size | tuple[int, ...]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result
