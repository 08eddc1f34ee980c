"""Small colour profiles, built from their definitions (ICC.1:2001-04), of kinds that photos carry."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

# Colourants of Display P3, adapted to D50 (Bradford), as Apple's profile states them.
_P3 = {"r": (0.51512, 0.24120, -0.00105), "g": (0.29198, 0.69225, 0.04189), "b": (0.15710, 0.06657, 0.78407)}
_D50 = (0.9642, 1.0, 0.8249)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(value) for value in values)


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def _text(kind: str, text: str) -> bytes:
    data = text.encode() + b"\0"
    if kind == "text":
        return b"text\0\0\0\0" + data
    return b"desc\0\0\0\0" + struct.pack(">I", len(data)) + data + bytes(8) + bytes(3) + bytes(67)


def _profile(space: bytes, connection: bytes, kind: bytes, name: str, tags: dict[str, bytes]) -> bytes:
    tags = {"desc": _text("desc", name), "cprt": _text("text", "none"), "wtpt": _xyz(_D50), **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += tag.encode() + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"none", 0x02400000, kind, space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + b"".join(_fixed(value) for value in _D50)
    return header + bytes(128 - len(header)) + table + body


def display_p3(gamma: float = 2.2) -> bytes:
    """The primaries of Display P3."""
    tags = {f"{name}XYZ": _xyz(value) for name, value in _P3.items()}
    tags |= dict.fromkeys(("rTRC", "gTRC", "bTRC"), _gamma(gamma))
    return _profile(b"RGB ", b"XYZ ", b"mntr", "Wide", tags)


def grey(gamma: float) -> bytes:
    """A grey profile of a gamma."""
    return _profile(b"GRAY", b"XYZ ", b"mntr", "Grey", {"kTRC": _gamma(gamma)})


def press() -> bytes:
    """A press whose inks add up plainly, as tables to and from Lab."""

    def to_lab(inks: Sequence[float]) -> tuple[float, float, float]:
        c, m, y, k = inks
        light = 1 - k
        return (
            light * (1 - 0.3 * c - 0.4 * m - 0.12 * y),
            0.5 + light * (m - c) * 0.2,
            0.5 + light * (y - 0.5 * c - 0.5 * m) * 0.25,
        )

    def to_inks(lab: Sequence[float]) -> tuple[float, float, float, float]:
        light, a, b = lab
        best = np.clip([1 - light - (a - 0.5), 1 - light + (a - 0.5), 1 - light + 2 * (b - 0.5)], 0, 1)
        return (*best.tolist(), 0.0)

    tags = {"A2B0": _table(4, 3, 5, to_lab), "B2A0": _table(3, 4, 9, to_inks)}
    return _profile(b"CMYK", b"Lab ", b"prtr", "Press", tags)


def _table(inputs: int, outputs: int, grid: int, function: Callable[[Sequence[float]], Sequence[float]]) -> bytes:
    """lut8Type: identity curves around a grid."""
    head = b"mft1\0\0\0\0" + bytes([inputs, outputs, grid, 0]) + b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    curve = bytes(range(256))
    steps = [i / (grid - 1) for i in range(grid)]
    cells = [np.clip(np.round(np.array(function(point)) * 255), 0, 255) for point in product(steps, repeat=inputs)]
    return head + curve * inputs + np.concatenate(cells).astype(np.uint8).tobytes() + curve * outputs
