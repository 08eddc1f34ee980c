"""The allow-list: what a pickle of weights may name, and the inert values that calls of it stand for.

Numpy arrays and torch tensors become `ArrayStub` and `TensorStub`: descriptions whose extent was checked against the
bytes that are there. They turn into tensors only when a converter asks, so a file costs what is used of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from latentedit.checkpoints.pickles.machine import (
    AttributeDict,
    Buildable,
    Global,
    PickleMachine,
    Record,
    damaged,
    unsafe,
)

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
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}
OBJECT = "O8"
_NUMPY_CODES = {OBJECT, "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


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

    def build(self, machine: PickleMachine, state: Any) -> None:
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

    def build(self, machine: PickleMachine, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise damaged(machine.origin, "a numpy array has a strange state")
        shape, dtype, fortran, data = state[-4:]
        if isinstance(dtype, DtypeStub) and dtype.is_object and isinstance(data, list):
            self.items = data
            return
        self.value = _array(machine, data, dtype, shape, "F" if fortran is True else "C")

    def tensor(self) -> torch.Tensor:
        """A copy of the array as a tensor."""
        if self.value is None:
            raise ValueError("a numpy array was never filled")
        native = self.value.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(self.value, dtype=native, order="C", copy=True))


def _shape(machine: PickleMachine, shape: Any) -> tuple[int, ...]:
    plain = isinstance(shape, tuple | list) and len(shape) <= MAX_DIMENSIONS
    if not plain or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise damaged(machine.origin, "an array has no sensible shape")
    return tuple(shape)


def _array(machine: PickleMachine, data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, DtypeStub) or dtype.is_object:
        raise unsafe(machine.origin, "a numpy array of objects")
    if isinstance(data, str):
        machine.charge(len(data))
        data = data.encode("latin1")
    if not isinstance(data, bytes | memoryview) or order not in ("C", "F"):
        raise unsafe(machine.origin, "a numpy array that is no plain block of bytes")
    size = _shape(machine, shape)
    plain = dtype.dtype()
    if len(data) != math.prod(size) * plain.itemsize:
        raise damaged(machine.origin, f"an array of shape {list(size)} has {len(data)} bytes")
    return np.frombuffer(data, plain).reshape(size, order=order)


# --- handlers: (machine, args) -> value -------------------------------------------------------------------------------

Handler = Callable[[PickleMachine, tuple[Any, ...]], Any]


def _ordered_dict(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    result = AttributeDict()
    for key, value in args[0] if args else ():
        machine.charge(64)
        result[machine.key(key)] = value
    return result


def _easy_dict(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    if args:
        raise unsafe(machine.origin, "an EasyDict made with arguments")
    return AttributeDict()


def _set(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    items = args[0] if args else []
    machine.charge(64 * len(items))
    return {machine.key(item) for item in items}


def _encode(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    text, encoding = args
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise unsafe(machine.origin, "an encoding other than latin1")
    machine.charge(len(text))
    return text.encode("latin1")


def _reconstructor(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    cls, _base, _state = args
    if not isinstance(cls, Global):
        raise unsafe(machine.origin, "an object of no class")
    return call(machine, cls, ())


def _record(kind: Global) -> Handler:
    def handler(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
        if args:
            raise unsafe(machine.origin, f"{kind} made with arguments")
        return Record(kind)

    return handler


def _persistent_object(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    (meta,) = args
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise damaged(machine.origin, "a persistent object is described by no class")
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise damaged(machine.origin, "a persistent object lacks its class name or state")
    return Record(Global("torch_utils.persistence", name), state)  # `module_src` is dropped unread


def _dtype(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    code = args[0]
    if code not in _NUMPY_CODES:
        raise unsafe(machine.origin, f"the numpy dtype {code!r:.40}" if isinstance(code, str) else "a numpy dtype")
    return DtypeStub(code)


def _reconstruct(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    if args[0] != Global("numpy", "ndarray"):
        raise unsafe(machine.origin, "a numpy array of another class")
    return ArrayStub()


def _from_buffer(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    data, dtype, shape, order = args
    stub = ArrayStub()
    stub.value = _array(machine, data, dtype, shape, order)
    return stub


def _scalar(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    dtype, data = args
    return _array(machine, data, dtype, (), "C").item()


def _size(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    return _shape(machine, args[0])


def _path(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    if len(args) > 64 or not all(isinstance(part, str) for part in args):
        raise damaged(machine.origin, "a path has strange parts")
    machine.charge(sum(map(len, args)))
    return "/".join(args)


def _device(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    return "device"


def _parameter(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    if not isinstance(args[0], TensorStub):
        raise damaged(machine.origin, "a parameter holds no tensor")
    return args[0]


def _tensor(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    storage, offset, size, stride = args[:4]
    if not isinstance(storage, StorageStub) or type(offset) is not int or offset < 0:
        raise damaged(machine.origin, "a tensor has no storage")
    stub = TensorStub(storage, offset, _shape(machine, size), _shape(machine, stride))
    if len(stub.size) != len(stub.stride) or not stub.fits():
        raise damaged(machine.origin, f"a tensor of shape {list(stub.size)} does not fit its storage")
    return stub


def _nested_storage(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    from latentedit.checkpoints.pickles.archive import read_archive

    (data,) = args
    if not isinstance(data, bytes | memoryview):
        raise damaged(machine.origin, "a storage is no block of bytes")
    value = read_archive(memoryview(data), origin=machine.origin, nested=True)
    if not isinstance(value, StorageStub):
        raise damaged(machine.origin, "a nested archive holds no storage")
    return value


NESTED = Global("torch.storage", "_load_from_bytes")
NETWORK = Global("dnnlib.tflib.network", "Network")
NAMESPACE = Global("argparse", "Namespace")

_BUILTINS = ("builtins", "__builtin__")
_COPYREG = ("copyreg", "copy_reg")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_PATHS = ("PosixPath", "WindowsPath", "Path", "PurePosixPath", "PureWindowsPath")

HANDLERS: dict[Global, Handler] = {
    Global("collections", "OrderedDict"): _ordered_dict,
    Global("dnnlib.util", "EasyDict"): _easy_dict,
    Global("dnnlib", "EasyDict"): _easy_dict,
    **{Global(module, "set"): _set for module in _BUILTINS},
    **{Global(module, "frozenset"): _set for module in _BUILTINS},
    **{Global(module, "_reconstructor"): _reconstructor for module in _COPYREG},
    Global("_codecs", "encode"): _encode,
    NAMESPACE: _record(NAMESPACE),
    NETWORK: _record(NETWORK),
    **{Global("pathlib", name): _path for name in _PATHS},
    **{Global("pathlib._local", name): _path for name in _PATHS},
    Global("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
    Global("numpy", "dtype"): _dtype,
    **{Global(module, "_reconstruct"): _reconstruct for module in _MULTIARRAY},
    **{Global(module, "scalar"): _scalar for module in _MULTIARRAY},
    **{Global(module, "_frombuffer"): _from_buffer for module in _NUMERIC},
    Global("torch", "Size"): _size,
    Global("torch", "device"): _device,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    NESTED: _nested_storage,
}
NAMES: dict[Global, Any] = {
    Global("numpy", "ndarray"): None,
    **{Global(module, "object"): None for module in _BUILTINS},
    **{Global("torch", name): dtype for name, dtype in STORAGES.items()},
    **{Global("torch", name): dtype for name, dtype in _DTYPES.items()},
}


def allowed(value: Global) -> bool:
    """Whether a pickle of weights may name ``value``."""
    return value in HANDLERS or value in NAMES


def call(machine: PickleMachine, function: Global, args: tuple[Any, ...]) -> Any:
    """What calling ``function`` stands for; a name that is no function is refused."""
    handler = HANDLERS.get(function)
    if handler is None:
        raise unsafe(machine.origin, f"a call of {str(function)!r}")
    return handler(machine, args)
