"""The machine that pickles are programs for, without globals and objects: input, stack, memo, containers, scalars.

Sizes are checked against the bytes that are there before anything is allocated; byte strings are views of the input;
memo and copied bytes are counted; containers may be recursive, and nothing here walks them.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Hashable
from typing import Any

from latentedit.checkpoints.pickles.stand_ins import Global, damaged

MAX_LINE = 1 << 16
MAX_LONG_BYTES = 256
_KEY_LIMIT = 1 << 60  # beyond it integers can be made to share one hash


class PickleStack:
    """Reads ``data`` from ``position`` on; ``budget`` is how many bytes may still be copied (None: see `__init__`)."""

    def __init__(self, data: memoryview, *, origin: str, budget: int | None = None) -> None:
        self.data = data
        self.origin = origin
        self.position = 0
        self.budget = 2 * len(data) + (16 << 20) if budget is None else budget
        self._reset()

    def _reset(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def charge(self, size: int) -> None:
        """Account for ``size`` bytes that are about to be copied."""
        self.budget -= size
        if self.budget < 0:
            raise damaged(self.origin, "it unfolds to far more than its own size")

    # --- reading --------------------------------------------------------------------------------------------------

    def _take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise damaged(self.origin, f"{size} bytes are promised at byte {self.position}, and fewer are there")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def _number(self, code: str) -> int:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _line(self) -> bytes:
        size = 64
        while size < MAX_LINE:
            size *= 2
            window = bytes(self.data[self.position : self.position + size])
            length = window.find(b"\n")
            if length >= 0:
                self.position += length + 1
                return window[:length]
        raise damaged(self.origin, f"a line does not end at byte {self.position}")

    def _text(self, code: str) -> str:
        return str(self._take(self._number(code)), "utf-8", "surrogatepass")

    def _old_text(self, code: str) -> str:
        return str(self._take(self._number(code)), "latin1")

    # --- the stack ------------------------------------------------------------------------------------------------

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _put(self, index: int) -> None:
        if index < 0:
            raise damaged(self.origin, "a memo index is negative")
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise damaged(self.origin, f"the memo has no entry {index}")
        self._push(self._memo[index])

    def _tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise damaged(self.origin, "the stack is too short")
        self._stack[len(self._stack) - size :] = [tuple(self._stack[len(self._stack) - size :])]

    # --- containers -----------------------------------------------------------------------------------------------

    def key(self, value: Any) -> Hashable:
        """``value`` if it may be a key: a short scalar, or a small tuple of such."""
        if isinstance(value, tuple) and len(value) <= 8 and not any(isinstance(item, tuple) for item in value):
            return tuple(self.key(item) for item in value)
        if (
            value is None
            or isinstance(value, str | bool | Global)
            or (isinstance(value, int) and abs(value) < _KEY_LIMIT)
        ):
            return value
        raise damaged(self.origin, f"a {type(value).__name__} is used as a key")

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise damaged(self.origin, f"items are appended to a {type(target).__name__}")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise damaged(self.origin, f"items are set on a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.key(key)] = value

    def _add_items(self) -> None:
        items = self._pop_mark()
        target = self._stack[-1]
        if not isinstance(target, set):
            raise damaged(self.origin, f"items are added to a {type(target).__name__}")
        target.update(self.key(item) for item in items)

    def _dict(self) -> None:
        items = self._pop_mark()
        self._push({})
        self._set_items(items)

    # --- scalars --------------------------------------------------------------------------------------------------

    def _integer_line(self) -> None:
        line = self._line()
        self._push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else integer(line))

    def _long_bytes(self, size: int) -> None:
        if not 0 <= size <= MAX_LONG_BYTES:
            raise damaged(self.origin, f"an integer has {size} bytes")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _string_line(self) -> None:
        line = self._line().strip()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise damaged(self.origin, "a string lacks its quotes")
        self._push(codecs.escape_decode(line[1:-1])[0].decode("latin1"))  # type: ignore[attr-defined]

    def _protocol(self) -> None:
        version = self._take(1)[0]
        if version > 5:
            raise damaged(self.origin, f"pickle protocol {version} is unknown")

    def _frame(self) -> None:
        size = self._number("<Q")
        if size > len(self.data) - self.position:
            raise damaged(self.origin, f"a frame of {size} bytes is promised, and fewer are there")


def integer(line: bytes) -> int:
    if len(line) > 300:
        raise ValueError("an integer of more than 300 digits")
    return int(line)
