"""JSON of a config dataclass and back, with every value checked against its annotation."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

from latentedit.errors import LatentEditError, ModelError

_T = TypeVar("_T")
_MAX_INTEGER = 1 << 20


class _MismatchError(Exception):
    pass


def config_from_json(cls: type[_T], text: str, *, origin: str, tensors: int) -> _T:
    """The dataclass ``cls`` from its JSON; ``tensors`` (how many the file holds) bounds counts of layers.

    Raises:
        ModelError: no JSON object, unknown keys, or values of the wrong type or out of any sensible range.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The configuration in {origin} is no JSON: {error}.", "The file is damaged.") from error
    return config_from_dict(cls, values, origin=origin, tensors=tensors)


def config_from_dict(cls: type[_T], values: Any, *, origin: str, tensors: int) -> _T:
    """As ``config_from_json``, from the parsed dictionary."""
    try:
        return _build(cls, values, tensors)
    except _MismatchError as error:
        raise ModelError(
            f"The configuration in {origin} does not fit {cls.__name__}: {error}.",
            "The file is damaged, or was written by a newer version.",
        ) from error
    except LatentEditError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(
            f"The configuration in {origin} is not valid: {error}.", "The file is damaged or not supported."
        ) from error


def _build(cls: Any, values: Any, tensors: int) -> Any:
    if not isinstance(values, dict):
        raise _MismatchError(f"expected an object, found {type(values).__name__}")
    hints = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise _MismatchError(f"unknown keys {', '.join(unknown[:5])}")
    result = {name: _convert(hints[name], value, name, tensors) for name, value in values.items()}
    return cls(**result)


def _convert(hint: Any, value: Any, name: str, tensors: int) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for option in typing.get_args(hint):
            try:
                return _convert(option, value, name, tensors)
            except _MismatchError:
                continue
        raise _MismatchError(f"{name} is {value!r:.60}")
    if origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        raise _MismatchError(f"{name} is {value!r:.60}, not one of {', '.join(map(str, typing.get_args(hint)))}")
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, tensors)
    if origin in (tuple, list):
        return _sequence(hint, value, name, tensors)
    if origin is dict:
        key_hint, value_hint = typing.get_args(hint)
        if not isinstance(value, dict):
            raise _MismatchError(f"{name} is {value!r:.60}")
        return {_convert(key_hint, k, name, tensors): _convert(value_hint, v, name, tensors) for k, v in value.items()}
    return _scalar(hint, value, name, tensors)


def _sequence(hint: Any, value: Any, name: str, tensors: int) -> Any:
    if not isinstance(value, list | tuple) or len(value) > 4096:
        raise _MismatchError(f"{name} is {value!r:.60}")
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list or (len(arguments) == 2 and arguments[1] is Ellipsis):
        items = [_convert(arguments[0], item, name, tensors) for item in value]
    elif len(arguments) == len(value):
        items = [_convert(option, item, name, tensors) for option, item in zip(arguments, value, strict=True)]
    else:
        raise _MismatchError(f"{name} has {len(value)} entries instead of {len(arguments)}")
    return items if typing.get_origin(hint) is list else tuple(items)


def _scalar(hint: Any, value: Any, name: str, tensors: int) -> Any:
    if hint is type(None) and value is None:
        return None
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        limit = tensors if "layers" in name or "depth" in name else _MAX_INTEGER
        if not -1 <= value <= limit:
            raise _MismatchError(f"{name} is {value}, more than {limit}")
        return value
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise _MismatchError(f"{name} is {value!r:.60}, not {getattr(hint, '__name__', hint)}")
