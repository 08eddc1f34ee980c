"""A pickle reader that cannot execute anything.

It interprets the opcodes itself. A global never becomes a Python object of that name: the allow-list of
`latentedit.checkpoints.pickles.allowed` maps it to an inert stand-in, and a call to it to a function of ours that
returns plain values. Everything else (extension codes, foreign persistent ids, out-of-band buffers) is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from latentedit.checkpoints.pickles.stack import PickleStack, integer
from latentedit.checkpoints.pickles.stand_ins import AttributeDict, Buildable, Global, Record, damaged, unsafe
from latentedit.errors import LatentEditError

MAX_OPCODES = 1_000_000


class PickleMachine(PickleStack):
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
        super().__init__(data, origin=origin, budget=budget)
        self._call = call
        self._allowed = allowed
        self._persistent = persistent
        self._opcodes = 0

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
        elif isinstance(target, AttributeDict) and isinstance(state, dict):
            target.attributes = state
        else:
            raise unsafe(
                self.origin, f"a state for a {target if isinstance(target, Global) else type(target).__name__}"
            )

    def _persistent_id(self, pid: Any) -> None:
        if self._persistent is None:
            raise unsafe(self.origin, "a persistent id")
        self._push(self._persistent(pid))


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
    ord("L"): lambda m: m._push(integer(m._line().rstrip(b"L"))),
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
    ord("g"): lambda m: m._get(integer(m._line())),
    ord("h"): lambda m: m._get(m._number("<B")),
    ord("i"): PickleMachine._instance,
    ord("j"): lambda m: m._get(m._number("<I")),
    ord("l"): lambda m: m._push(m._pop_mark()),
    ord("]"): lambda m: m._push([]),
    ord("o"): PickleMachine._object,
    ord("p"): lambda m: m._put(integer(m._line())),
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
