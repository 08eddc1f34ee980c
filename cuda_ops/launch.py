"""Launching: the kernel for a tensor's device and dtype, layouts, pointers, and buffers for results."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from latentedit.cuda_ops.native import find

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.float64: 3}
"""The kernels' numbers of the dtypes; float64 has kernels on the CPU only."""


def function(name: str, x: Tensor) -> Callable[..., None] | None:
    """The kernel ``name`` for the device and dtype of ``x``, with dtype and stream or thread count filled in."""
    dtype = DTYPES.get(x.dtype)
    if dtype is None or (dtype == 3 and x.device.type != "cpu"):
        return None
    library = find(x.device)
    found = None if library is None else getattr(library, name, None)
    if found is None:
        return None
    if x.device.type == "cpu":
        threads = torch.get_num_threads()
        return lambda *args: check(name, found(dtype, *args, threads))

    def launch(*args: Any) -> None:
        with torch.cuda.device(x.device):
            check(name, found(dtype, *args, torch.cuda.current_stream().cuda_stream), library)

    return launch


def library_of(x: Tensor) -> ctypes.CDLL:
    """The library that serves ``x``, where `function` has found one."""
    library = find(x.device)
    assert library is not None
    return library


def is_cuda(x: Tensor) -> bool:
    """Whether the CUDA library serves ``x``: on a GPU, or in emulation."""
    return hasattr(find(x.device), "le_error")


def check(name: str, status: int, library: ctypes.CDLL | None = None) -> None:
    """Raise RuntimeError for a status other than 0."""
    if status > 0 and hasattr(library, "le_error"):
        raise RuntimeError(f"{name} could not be launched: {library.le_error(status).decode()}.")  # type: ignore
    if status:
        raise RuntimeError(f"{name} does not take tensors of this dtype or size.")


def pointer(t: Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


def empty(
    size: Sequence[int],
    like: Tensor,
    *,
    dtype: torch.dtype | None = None,
    layout: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """A buffer that a kernel will fill, on the device of ``like``."""
    return torch.empty(tuple(size), dtype=dtype or like.dtype, device=like.device, memory_format=layout)


def memory_format(x: Tensor) -> torch.memory_format:
    """The dense layout in which results for ``x`` are laid out: channels-last only where ``x`` is nothing else."""
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def is_channels_last(x: Tensor) -> bool:
    """Whether ``x`` is laid out channels-last and not otherwise."""
    return memory_format(x) is torch.channels_last
