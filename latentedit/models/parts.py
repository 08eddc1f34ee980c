"""Parts of a model that are built when they are first asked for.

An encoder of the pSp family is a gigabyte that takes seconds to build, and most commands never look at it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, overload

_T = TypeVar("_T")


class Deferred(Generic[_T]):
    """A part to be: ``make()`` is called once, by whichever thread asks first."""

    def __init__(self, make: Callable[[], _T | None]) -> None:
        self._make: Callable[[], _T | None] | None = make
        self._value: _T | None = None
        self._lock = threading.Lock()

    def get(self) -> _T | None:
        """The part; an error of ``make`` is raised to every caller."""
        with self._lock:
            if self._make is not None:
                self._value = self._make()
                self._make = None
            return self._value


class Part(Generic[_T]):
    """An attribute of a dataclass that is given a value, None, or a `Deferred` one, and reads as its value."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> None: ...
    @overload
    def __get__(self, instance: object, owner: type) -> _T | None: ...
    def __get__(self, instance: object | None, owner: type) -> _T | None:
        if instance is None:
            return None  # the default
        value = instance.__dict__[self._name]
        return value.get() if isinstance(value, Deferred) else value

    def __set__(self, instance: object, value: _T | Deferred[_T] | None) -> None:
        instance.__dict__[self._name] = value
