"""The allow-list: what a pickle of weights may name, and the inert values that calls of it stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from latentedit.checkpoints.pickles.arrays import (
    DTYPES,
    NUMPY_CODES,
    STORAGES,
    ArrayStub,
    DtypeStub,
    StorageStub,
    TensorStub,
    checked_array,
    checked_shape,
)
from latentedit.checkpoints.pickles.machine import PickleMachine
from latentedit.checkpoints.pickles.stand_ins import AttributeDict, Global, Record, damaged, unsafe

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
    if code not in NUMPY_CODES:
        raise unsafe(machine.origin, f"the numpy dtype {code!r:.40}" if isinstance(code, str) else "a numpy dtype")
    return DtypeStub(code)


def _reconstruct(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    if args[0] != Global("numpy", "ndarray"):
        raise unsafe(machine.origin, "a numpy array of another class")
    return ArrayStub()


def _from_buffer(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    data, dtype, shape, order = args
    stub = ArrayStub()
    stub.value = checked_array(machine, data, dtype, shape, order)
    return stub


def _scalar(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    dtype, data = args
    return checked_array(machine, data, dtype, (), "C").item()


def _size(machine: PickleMachine, args: tuple[Any, ...]) -> Any:
    return checked_shape(machine, args[0])


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
    stub = TensorStub(storage, offset, checked_shape(machine, size), checked_shape(machine, stride))
    if len(stub.size) != len(stub.stride) or not stub.fits():
        raise damaged(machine.origin, f"a tensor of shape {list(stub.size)} does not fit its storage")
    return stub


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
}
NAMES: dict[Global, Any] = {
    NESTED: None,  # a call of it is the archive reader's to answer
    Global("numpy", "ndarray"): None,
    **{Global(module, "object"): None for module in _BUILTINS},
    **{Global("torch", name): dtype for name, dtype in STORAGES.items()},
    **{Global("torch", name): dtype for name, dtype in DTYPES.items()},
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
