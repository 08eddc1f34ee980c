"""Stand-ins of torch tensors and numpy arrays: descriptions whose extent was checked against the bytes that are there.

They turn into tensors only when a converter asks, so a file costs what is used of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from latentedit.checkpoints.pickles.stand_ins import Account, Buildable, damaged, unsafe

MAX_DIMENSIONS = 32

STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}
OBJECT = "O8"
NUMPY_CODES = {OBJECT, "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


class StorageStub:
    """A torch storage: bytes (a view of the file) that hold ``count`` elements of ``dtype``."""

    __slots__ = ("count", "data", "dtype")

    def __init__(self, dtype: torch.dtype, count: int, data: memoryview | None = None) -> None:
        self.dtype = dtype
        self.count = count
        self.data = data


class TensorStub:
    """A torch tensor that may be made: a window of a storage."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: StorageStub, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    def tensor(self) -> torch.Tensor:
        """A copy of the tensor in memory of its own."""
        data = self.storage.data
        if data is None or math.prod(self.size) == 0:
            return torch.empty(self.size, dtype=self.storage.dtype)
        item = self.storage.dtype.itemsize
        # Through numpy: it copies from any alignment, and knows no bfloat16.
        raw = np.frombuffer(data, np.uint8, (self._extent() - self.offset) * item, self.offset * item)
        flat = torch.from_numpy(raw.copy()).view(self.storage.dtype)
        return flat.as_strided(self.size, self.stride).contiguous()

    def _extent(self) -> int:
        return self.offset + 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))

    def fits(self) -> bool:
        """Whether the window lies inside the storage and repeats nothing."""
        if math.prod(self.size) == 0:
            return True
        return math.prod(self.size) <= self.storage.count and self._extent() <= self.storage.count


class DtypeStub(Buildable):
    """A numpy dtype: a kind and size from the short list of plain numbers, and a byte order."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "<"

    def build(self, machine: Account, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 3 or state[1] not in ("<", ">", "|", "="):
            raise damaged(machine.origin, "a numpy dtype has a strange state")
        if any(item is not None for item in state[2:5]):
            raise unsafe(machine.origin, "a structured numpy dtype")
        self.order = state[1]

    @property
    def is_object(self) -> bool:
        return self.code == OBJECT

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class ArrayStub(Buildable):
    """A numpy array: a view of the file's bytes, known once its state was built.

    Arrays of objects, in which `numpy.save` hides dictionaries, become plain lists, ``items``.
    """

    def __init__(self) -> None:
        self.value: np.ndarray | None = None
        self.items: list[Any] | None = None

    def build(self, machine: Account, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise damaged(machine.origin, "a numpy array has a strange state")
        shape, dtype, fortran, data = state[-4:]
        if isinstance(dtype, DtypeStub) and dtype.is_object and isinstance(data, list):
            self.items = data
            return
        self.value = checked_array(machine, data, dtype, shape, "F" if fortran is True else "C")

    def tensor(self) -> torch.Tensor:
        """A copy of the array as a tensor."""
        if self.value is None:
            raise ValueError("a numpy array was never filled")
        native = self.value.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(self.value, dtype=native, order="C", copy=True))


def checked_shape(machine: Account, shape: Any) -> tuple[int, ...]:
    plain = isinstance(shape, tuple | list) and len(shape) <= MAX_DIMENSIONS
    if not plain or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise damaged(machine.origin, "an array has no sensible shape")
    return tuple(shape)


def checked_array(machine: Account, data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, DtypeStub) or dtype.is_object:
        raise unsafe(machine.origin, "a numpy array of objects")
    if isinstance(data, str):
        machine.charge(len(data))
        data = data.encode("latin1")
    if not isinstance(data, bytes | memoryview) or order not in ("C", "F"):
        raise unsafe(machine.origin, "a numpy array that is no plain block of bytes")
    size = checked_shape(machine, shape)
    plain = dtype.dtype()
    if len(data) != math.prod(size) * plain.itemsize:
        raise damaged(machine.origin, f"an array of shape {list(size)} has {len(data)} bytes")
    return np.frombuffer(data, plain).reshape(size, order=order)
