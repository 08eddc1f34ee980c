"""Calls of MobileStyleGAN's fused block in the native library of the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops import launch
from latentedit.cuda_ops.interface import WaveletBlockStruct, WaveletGradStruct
from latentedit.cuda_ops.launch import pointer
from latentedit.cuda_ops.weights import prepared

HEAD = 16
"""Columns of the packed image layer."""


def fits(x: Tensor, inputs: int, outputs: int, image_channels: int) -> bool:
    """Whether the native block takes float32 ``x`` and these channels; ``image_channels`` 0 without an image layer."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or launch.function("le_wavelet_block", x) is None:
        return False
    return bool(launch.library_of(x).le_wavelet_fits(inputs, outputs, image_channels))


def serves(x: Tensor, *rest: Any) -> bool:
    """`fits` for the arguments of ``wavelet_block``."""
    head = rest[11]
    return fits(x, rest[3].shape[0], rest[5].shape[0], 0 if head is None else head.shape[1] // 4)


def packed(weight: Tensor, *, transposed: bool = False) -> Tensor:
    """``weight`` [O, C] as the products take it; kept for parameters, which come again."""
    library = launch.library_of(weight)

    def make(w: Tensor) -> Tensor:
        columns, depth = w.shape[::-1] if transposed else w.shape
        to = launch.empty(((columns + 64) * depth,), w)  # room for the last panel
        library.le_pack(pointer(w.contiguous()), pointer(to), *w.shape, int(transposed))
        return to

    frozen = isinstance(weight, torch.nn.Parameter)
    return prepared(weight, f"packed-{transposed}", make) if frozen else make(weight.detach())


def forward(tensors: Sequence[Any]) -> Tensor:
    """The block's result, or the image where there is a head; ``tensors`` as `latentedit.cuda_ops.wavelet` has them."""
    call = Call(tensors)
    n, _, height, width = call.size
    if call.image_channels:
        y = launch.empty((n, call.image_channels, 2 * height, 2 * width), call.x)
    else:
        y = launch.empty(call.size, call.x, layout=torch.channels_last)
    places = (None, pointer(y)) if call.image_channels else (pointer(y), None)
    status = launch.library_of(y).le_wavelet_block(call.address, *places, torch.get_num_threads())
    launch.check("le_wavelet_block", status)
    return y


def backward(dy: Tensor, y: Tensor | None, tensors: Sequence[Any], need: Sequence[bool]) -> list[Tensor]:
    """Gradients of those arguments that ``need`` marks; ``y`` is the block's result where it has no head."""
    call = Call(tensors)
    x, d1, w1, w2 = (tensors[i] for i in (0, 4, 6, 7))
    n, outputs, height, width = call.size
    parts, inputs = launch.library_of(x).le_wavelet_sums(call.address), d1.shape[0]
    layout = torch.contiguous_format if call.image_channels else torch.channels_last
    dy = dy.contiguous(memory_format=layout)

    def buffer(wanted: bool, *size: int) -> Tensor | None:
        return launch.empty(size, x) if wanted else None

    pixels = (n, height * width)
    made = {
        "x": launch.empty(x.shape, x, layout=torch.channels_last),
        "up": buffer(True, parts, n, 4 * inputs),
        "styles1": buffer(True, parts, n, inputs),
        "styles2": buffer(True, parts, n, outputs),
        "noise1": buffer(need[10], n, 1, height, width),
        "noise2": buffer(need[11], n, 1, height, width),
        "head": buffer(need[12], parts, n, outputs, HEAD),
        **{name: buffer(need[6], *pixels, c) for name, c in (("z1", outputs), ("d1", inputs))},
        **{name: buffer(need[7], *pixels, c) for name, c in (("z2", outputs), ("d2", outputs))},
    }
    given = (None, None, dy) if call.image_channels else (dy, y, None)
    back = [packed(w, transposed=True) for w in (w1, w2)]
    struct = WaveletGradStruct(*map(pointer, (*given, *back, *made.values())))
    library = launch.library_of(x)
    status = library.le_wavelet_block_grad(call.address, ctypes.addressof(struct), torch.get_num_threads())
    launch.check("le_wavelet_block_grad", status)
    return _finished(made, tensors, need)


def _finished(made: dict[str, Any], tensors: Sequence[Any], need: Sequence[bool]) -> list[Tensor]:
    """The gradients out of what the kernel wrote: sums over parts, over images that share noise, and the products."""
    noise, head = tensors[10:12], tensors[12]
    finish = {
        0: lambda: made["x"],
        1: lambda: made["up"].sum(dim=0) * 0.5,
        2: lambda: made["styles1"].sum(dim=0),
        3: lambda: made["styles2"].sum(dim=0),
        6: lambda: made["z1"].flatten(0, 1).t() @ made["d1"].flatten(0, 1),
        7: lambda: made["z2"].flatten(0, 1).t() @ made["d2"].flatten(0, 1),
        10: lambda: made["noise1"].sum_to_size(noise[0].shape),
        11: lambda: made["noise2"].sum_to_size(noise[1].shape),
        12: lambda: made["head"].sum(dim=0)[:, :, : head.shape[1]].transpose(1, 2).contiguous(),
    }
    return [finish[i]() for i, n in enumerate(need) if n]


class Call:
    """The C view of a block's tensors; it keeps alive what it made of them.

    Attributes:
        x: the input, channels-last.
        size: [N, O, H, W] of the block's result.
        image_channels: of the image, or 0 without a head.
        address: of the struct.
    """

    def __init__(self, tensors: Sequence[Any]) -> None:
        x, up, s1, s2, d1, d2, w1, w2, b1, b2, n1, n2, head, head_bias = tensors
        self.x = x.contiguous(memory_format=torch.channels_last)
        inputs, outputs = d1.shape[0], w1.shape[0]
        self.size = (x.shape[0], outputs, 2 * x.shape[2], 2 * x.shape[3])
        self.image_channels = 0 if head is None else head.shape[1] // 4
        plain = [None if t is None else t.contiguous() for t in (s1, s2, _taps(d1), _taps(d2))]
        rest = [None if t is None else t.contiguous() for t in (b1, b2, n1, n2)]
        ends = [None if t is None else _padded(t, head is t) for t in (head, head_bias)]
        self.kept = [self.x, (0.5 * up).contiguous(), *plain, packed(w1), packed(w2), *rest, *ends]
        strides = [0 if t is None or t.shape[0] == 1 else t[0].numel() for t in (n1, n2)]
        sizes = (*strides, x.shape[0], inputs, outputs, *self.size[2:], self.image_channels)
        self.struct = WaveletBlockStruct(*map(pointer, self.kept), *sizes)
        self.address = ctypes.addressof(self.struct)


def _taps(depthwise: Tensor) -> Tensor:
    """[9, C] of [C, 1, 3, 3]."""
    if isinstance(depthwise, torch.nn.Parameter):
        return prepared(depthwise, "taps", lambda w: w.flatten(1).t().contiguous())
    return depthwise.detach().flatten(1).t().contiguous()


def _padded(t: Tensor, transposed: bool) -> Tensor:
    """[N, 4c, C] -> [N, C, HEAD], or [4c] -> [HEAD], filled up with zeros."""
    t = t.transpose(1, 2) if transposed else t
    return torch.nn.functional.pad(t, (0, HEAD - t.shape[-1])).contiguous()
