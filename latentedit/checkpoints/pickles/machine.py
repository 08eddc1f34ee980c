"""A pickle reader that cannot execute anything.

It interprets the opcodes itself. A global never becomes a Python object of that name: the allow-list of
`latentedit.checkpoints.pickles.allowed` maps it to an inert stand-in, and a call to it to a function of ours that
returns plain values. Everything else (extension codes, foreign persistent ids, out-of-band buffers) is refused.

Sizes are checked against the bytes that are there before anything is allocated; byte strings are views of the
input; opcodes, memo and copied bytes are counted; containers may be recursive, and nothing here walks them.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from latentedit.errors import LatentEditError, ModelError, UnsafeCheckpointError

MAX_OPCODES = 1_000_000
MAX_LINE = 1 << 16
MAX_LONG_BYTES = 256
_KEY_LIMIT = 1 << 60  # beyond it integers can be made to share one hash

_UNSAFE_REMEDY = "Nothing of the file was executed. Ask its author for plain weights (safetensors)."
_DAMAGED_REMEDY = "The file is damaged or no checkpoint: copy or download it again."


@dataclass(frozen=True)
class Global:
    """Stand-in for a class or function that a pickle names; only its name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Record:
    """Stand-in for an object: the global that it is an instance of, and its state."""

    __slots__ = ("kind", "state")

    def __init__(self, kind: Global, state: Any = None) -> None:
        self.kind = kind
        self.state = state


class Buildable:
    """A stand-in that takes its state afterwards (the BUILD opcode) and checks it."""

    def build(self, machine: PickleMachine, state: Any) -> None:
        raise NotImplementedError


class AttributeDict(dict[Any, Any]):
    """Stand-in for dict subclasses; their instance attributes (such as ``_metadata``) are dropped."""


def unsafe(origin: str, wish: str) -> UnsafeCheckpointError:
    """The error for a pickle that asks for more than weights need."""
    return UnsafeCheckpointError(
        f"The pickle in {origin} asks for {wish:.200}, which weights do not need.", _UNSAFE_REMEDY
    )


def damaged(origin: str, detail: str) -> ModelError:
    """The error for a pickle that is malformed."""
    return ModelError(f"The pickle in {origin} cannot be read: {detail:.200}.", _DAMAGED_REMEDY)


class PickleMachine:
    """Read pickles from ``data`` one after another, as plain values and stand-ins.

    Args:
        data: the bytes; byte strings in the result are views of it.
        origin: what messages call the file.
        call: ``(machine, Global, args) -> value`` for REDUCE and NEWOBJ of an allowed global.
        allowed: whether a global is on the allow-list.
        persistent: ``(pid) -> value`` for persistent ids; None refuses them.
        budget: bytes that may be copied in all; the default is twice the input and 16 MiB.
    """

    def __init__(
        self,
        data: memoryview,
        *,
        origin: str,
        call: Callable[[PickleMachine, Global, tuple[Any, ...]], Any],
        allowed: Callable[[Global], bool],
        persistent: Callable[[Any], Any] | None = None,
        budget: int | None = None,
    ) -> None:
        self.data = data
        self.origin = origin
        self.position = 0
        self.budget = 2 * len(data) + (16 << 20) if budget is None else budget
        self._call = call
        self._allowed = allowed
        self._persistent = persistent
        self._opcodes = 0
        self._reset()

    def _reset(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The next pickle's value; ``position`` then stands behind its STOP.

        Raises:
            UnsafeCheckpointError: it asks for a global, or a mechanism, that is not on the allow-list.
            ModelError: it is malformed or exceeds a bound.
        """
        self._reset()
        try:
            return self._run()
        except LatentEditError:
            raise
        except (
            ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError, Warning,
            struct.error,
        ) as error:  # fmt: skip
            raise damaged(self.origin, f"{type(error).__name__} at byte {self.position}") from error

    def charge(self, size: int) -> None:
        """Account for ``size`` bytes that are about to be copied."""
        self.budget -= size
        if self.budget < 0:
            raise damaged(self.origin, "it unfolds to far more than its own size")

    def _run(self) -> Any:
        while True:
            self._opcodes += 1
            if self._opcodes > MAX_OPCODES:
                raise damaged(self.origin, f"it has more than {MAX_OPCODES} instructions")
            opcode = self._take(1)[0]
            if opcode == 0x2E:  # STOP
                return self._stack.pop()
            action = _ACTIONS.get(opcode)
            if action is None:
                name = _REFUSED.get(opcode)
                if name is not None:
                    raise unsafe(self.origin, name)
                raise damaged(self.origin, f"unknown opcode {opcode:#04x} at byte {self.position - 1}")
            action(self)

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

    # --- globals and objects --------------------------------------------------------------------------------------

    def _global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise unsafe(self.origin, "a global whose name is no text")
        value = Global(module, name)
        if not self._allowed(value):
            raise unsafe(self.origin, f"the global {str(value)!r}")
        self._push(value)

    def _global_lines(self) -> None:
        self._global(self._line().decode("utf-8"), self._line().decode("utf-8"))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._global(module, name)

    def invoke(self, function: Any, args: Any) -> Any:
        """What calling the stand-in ``function`` with ``args`` stands for."""
        if not isinstance(function, Global):
            raise unsafe(self.origin, f"a call of a {type(function).__name__}")
        if not isinstance(args, tuple):
            raise damaged(self.origin, f"{function} is called with a {type(args).__name__}")
        return self._call(self, function, args)

    def _reduce(self) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._push(self.invoke(function, args))

    def _new_object_with_keywords(self) -> None:
        keywords = self._stack.pop()
        if keywords != {}:
            raise unsafe(self.origin, "an object made with keywords")
        self._reduce()

    def _instance(self) -> None:
        items = self._pop_mark()
        self._global_lines()
        self._push(self.invoke(self._stack.pop(), tuple(items)))

    def _object(self) -> None:
        items = self._pop_mark()
        self._push(self.invoke(items[0], tuple(items[1:])))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Buildable):
            target.build(self, state)
        elif isinstance(target, Record):
            if target.state is not None:
                raise unsafe(self.origin, f"a second state for {target.kind}")
            target.state = state
        elif not (isinstance(target, AttributeDict) and isinstance(state, dict)):
            raise unsafe(
                self.origin, f"a state for a {target if isinstance(target, Global) else type(target).__name__}"
            )

    def _persistent_id(self, pid: Any) -> None:
        if self._persistent is None:
            raise unsafe(self.origin, "a persistent id")
        self._push(self._persistent(pid))

    # --- scalars --------------------------------------------------------------------------------------------------

    def _integer_line(self) -> None:
        line = self._line()
        self._push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _integer(line))

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


def _integer(line: bytes) -> int:
    if len(line) > 300:
        raise ValueError("an integer of more than 300 digits")
    return int(line)


_REFUSED = {
    0x82: "an extension code (EXT1)",
    0x83: "an extension code (EXT2)",
    0x84: "an extension code (EXT4)",
    0x97: "an out-of-band buffer",
    0x98: "an out-of-band buffer",
}

_Action = Callable[[PickleMachine], Any]
_ACTIONS: dict[int, _Action] = {
    ord("("): PickleMachine._mark,
    ord("0"): PickleMachine._pop,
    ord("1"): PickleMachine._pop_mark,
    ord("2"): lambda m: m._push(m._stack[-1]),
    ord("F"): lambda m: m._push(float(m._line())),
    ord("I"): PickleMachine._integer_line,
    ord("J"): lambda m: m._push(m._number("<i")),
    ord("K"): lambda m: m._push(m._number("<B")),
    ord("M"): lambda m: m._push(m._number("<H")),
    ord("L"): lambda m: m._push(_integer(m._line().rstrip(b"L"))),
    ord("N"): lambda m: m._push(None),
    ord("P"): lambda m: m._persistent_id(m._line().decode("ascii")),
    ord("Q"): lambda m: m._persistent_id(m._stack.pop()),
    ord("R"): PickleMachine._reduce,
    ord("S"): PickleMachine._string_line,
    ord("T"): lambda m: m._push(m._old_text("<i")),
    ord("U"): lambda m: m._push(m._old_text("<B")),
    ord("V"): lambda m: m._push(m._line().decode("raw-unicode-escape")),
    ord("X"): lambda m: m._push(m._text("<I")),
    ord("a"): lambda m: m._extend([m._stack.pop()]),
    ord("b"): PickleMachine._build,
    ord("c"): PickleMachine._global_lines,
    ord("d"): PickleMachine._dict,
    ord("}"): lambda m: m._push({}),
    ord("e"): lambda m: m._extend(m._pop_mark()),
    ord("g"): lambda m: m._get(_integer(m._line())),
    ord("h"): lambda m: m._get(m._number("<B")),
    ord("i"): PickleMachine._instance,
    ord("j"): lambda m: m._get(m._number("<I")),
    ord("l"): lambda m: m._push(m._pop_mark()),
    ord("]"): lambda m: m._push([]),
    ord("o"): PickleMachine._object,
    ord("p"): lambda m: m._put(_integer(m._line())),
    ord("q"): lambda m: m._put(m._number("<B")),
    ord("r"): lambda m: m._put(m._number("<I")),
    ord("s"): lambda m: m._set_items([m._stack.pop(-2), m._stack.pop()]),
    ord("t"): lambda m: m._push(tuple(m._pop_mark())),
    ord(")"): lambda m: m._push(()),
    ord("u"): lambda m: m._set_items(m._pop_mark()),
    ord("G"): lambda m: m._push(m._number(">d")),
    ord("B"): lambda m: m._push(m._take(m._number("<I"))),
    ord("C"): lambda m: m._push(m._take(m._number("<B"))),
    0x80: PickleMachine._protocol,
    0x81: PickleMachine._reduce,  # NEWOBJ
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    0x88: lambda m: m._push(True),
    0x89: lambda m: m._push(False),
    0x8A: lambda m: m._long_bytes(m._number("<B")),
    0x8B: lambda m: m._long_bytes(m._number("<i")),
    0x8C: lambda m: m._push(m._text("<B")),
    0x8D: lambda m: m._push(m._text("<Q")),
    0x8E: lambda m: m._push(m._take(m._number("<Q"))),
    0x8F: lambda m: m._push(set()),
    0x90: PickleMachine._add_items,
    0x91: lambda m: m._push(frozenset(m.key(item) for item in m._pop_mark())),
    0x92: PickleMachine._new_object_with_keywords,
    0x93: PickleMachine._stack_global,
    0x94: lambda m: m._put(len(m._memo)),
    0x95: PickleMachine._frame,
    0x96: lambda m: m._push(m._take(m._number("<Q"))),
}
