"""Inert stand-ins for what a pickle names and makes, and the two errors of a pickle that is no plain weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from latentedit.errors import ModelError, UnsafeCheckpointError

_UNSAFE_REMEDY = "Nothing of the file was executed. Ask its author for plain weights (safetensors)."
_DAMAGED_REMEDY = "The file is damaged or no checkpoint: copy or download it again."


@dataclass(frozen=True)
class Global:
    """Stand-in for a class or function that a pickle names; only its name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Account(Protocol):
    """What a stand-in sees of the reader that fills it: the name of the file, and the budget of copied bytes."""

    origin: str

    def charge(self, size: int) -> None: ...


class Record:
    """Stand-in for an object: the global that it is an instance of, and its state."""

    __slots__ = ("kind", "state")

    def __init__(self, kind: Global, state: Any = None) -> None:
        self.kind = kind
        self.state = state


class Buildable:
    """A stand-in that takes its state afterwards (the BUILD opcode) and checks it."""

    def build(self, machine: Account, state: Any) -> None:
        raise NotImplementedError


class AttributeDict(dict[Any, Any]):
    """Stand-in for dict subclasses; their instance attributes (such as ``_metadata``) are plain ``attributes``."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[Any, Any] = {}


def unsafe(origin: str, wish: str) -> UnsafeCheckpointError:
    """The error for a pickle that asks for more than weights need."""
    return UnsafeCheckpointError(
        f"The pickle in {origin} asks for {wish:.200}, which weights do not need.", _UNSAFE_REMEDY
    )


def damaged(origin: str, detail: str) -> ModelError:
    """The error for a pickle that is malformed."""
    return ModelError(f"The pickle in {origin} cannot be read: {detail:.200}.", _DAMAGED_REMEDY)
