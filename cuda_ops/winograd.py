"""Calls of the Winograd convolution in the native library of the CPU."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from latentedit.cuda_ops import launch
from latentedit.cuda_ops.activation_reference import ACTIVATIONS
from latentedit.cuda_ops.epilogue import Epilogue
from latentedit.cuda_ops.launch import pointer
from latentedit.cuda_ops.weights import prepared

WINOGRAD_FROM = 256
"""Pixels from which the products that Winograd's algorithm saves outweigh reading four times the weights."""


def winograd(
    x: Tensor, weight: Tensor, styles: Tensor | None, what: Epilogue | None, *, backward: bool = False
) -> Tensor | None:
    """3x3 convolution of ``x * styles`` with padding 1, then the epilogue; float32 on the CPU, else None.

    ``backward``: the transposed convolution instead, which maps gradients of the outputs to the inputs. Relative error
    2e-5 of the largest value, ten times that of the direct algorithm. Only for parameters, which come again: results of
    a computation are not worth preparing.
    """
    out, channels = weight.shape[1::-1] if backward else weight.shape[:2]
    eligible = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and weight.shape[2:] == (3, 3)
    if not eligible or not isinstance(weight, torch.nn.Parameter) or x.shape[2] * x.shape[3] < WINOGRAD_FROM:
        return None
    if launch.function("le_winograd", x) is None or not (what is None or ACTIVATIONS[what.act].piecewise_linear):
        return None
    library = launch.library_of(x)
    if not library.le_winograd_fits(channels, out):
        return None
    threads = torch.get_num_threads()

    def make(w: Tensor) -> Tensor:
        w, transformed = w.contiguous(), launch.empty((36 * w.shape[0] * w.shape[1],), w)
        library.le_winograd_prepare(pointer(w), pointer(transformed), w.shape[0], w.shape[1], int(backward), threads)
        return transformed

    transformed = prepared(weight, f"winograd-{backward}", make)
    x = x.contiguous(memory_format=torch.channels_last)
    y = launch.empty((x.shape[0], out, *x.shape[2:]), x, layout=torch.channels_last)
    styles = None if styles is None else styles.contiguous()
    struct = None if what is None else what.struct()
    status = library.le_winograd(
        pointer(x), pointer(transformed), pointer(styles), pointer(y), x.shape[0], channels, out, *x.shape[2:],
        None if struct is None else ctypes.addressof(struct), threads,
    )  # fmt: skip
    launch.check("le_winograd", status)
    return y
