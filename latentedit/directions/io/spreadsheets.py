"""Columns of numbers out of the CSV dialects that spreadsheets write; the ambiguous is refused by line, not guessed.

Separators are commas, semicolons, tabs or bars, as the header has them. Decimal commas are read where the separator is
another; empty cells, N/A and the like are missing numbers.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentedit.errors import DirectionError

MISSING = frozenset({"", "n/a", "na", "#n/a", "nan", "none", "null", "nil", "unknown", "-", "--", "?", "."})
_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_SEPARATORS = ",;\t|"
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?")


@dataclass(frozen=True)
class Spreadsheet:
    """``names`` of all columns, the numeric ``columns`` [n] by name (NaN: missing), and the ``lines`` [n] of the file
    that they stand on."""

    names: tuple[str, ...]
    columns: dict[str, np.ndarray]
    lines: tuple[int, ...]


def read_spreadsheet(path: str | os.PathLike[str]) -> Spreadsheet:
    """The columns of ``path`` that hold numbers, true/false or yes/no; columns of text alone are left out.

    Raises:
        DirectionError: unreadable, no header, names that occur twice, a line with more or fewer cells than the header,
            or a cell that is no number in a column of numbers (both named by line).
    """
    text = _decoded(Path(path))
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator or "\x1f")
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():  # a line of separators alone is a row without labels
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DirectionError(f"Line {reader.line_num} of {str(path)!r} cannot be read: {error}.", None) from error
    if not rows:
        raise DirectionError(f"{str(path)!r} is empty.", "Give a header, and a line for each latent.")
    header, rows, lines = rows[0], rows[1:], lines[1:]
    _check_header(header, path)
    for number, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise _uneven(number, row, header, separator, path)
    cells = {name: [row[index] for row in rows] for index, name in enumerate(header) if name}
    columns = {name: _column(name, values, lines, separator, path) for name, values in cells.items()}
    known = {name: values for name, values in columns.items() if values is not None}
    return Spreadsheet(tuple(cells), known, tuple(lines))


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return data.decode(encoding)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        problem = f"The labels {str(path)!r} cannot be read: {reason}."
        raise DirectionError(problem, "Give a CSV with a header, saved as UTF-8.") from error


def _separator(text: str) -> str:
    """What the first line separates its cells by; nothing for one column."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    outside = re.sub(r'"[^"]*"', "", first)
    counts = {separator: outside.count(separator) for separator in _SEPARATORS}
    most = max(counts, key=lambda separator: counts[separator])
    return most if counts[most] else ""


def _check_header(header: list[str], path: str | os.PathLike[str]) -> None:
    if all(_number(cell, "") is not None for cell in header if cell):
        raise DirectionError(
            f"{str(path)!r} has no header: its first line holds numbers.", "Name the columns in the first line."
        )
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise DirectionError(f"{str(path)!r} has two columns {twice!r}.", "Name each column once.")


def _uneven(
    number: int, row: list[str], header: list[str], separator: str, path: str | os.PathLike[str]
) -> DirectionError:
    remedy = "Give each line one cell for every column; leave a cell empty where the label is missing."
    if separator == "," and len(row) > len(header):
        remedy = "Are there decimal commas? Separate the columns by semicolons then, or write decimal points."
    return DirectionError(
        f"Line {number} of {str(path)!r} has {len(row)} cells for {len(header)} columns, separated by "
        f"{_NAMES.get(separator, 'nothing')}.",
        remedy,
    )


def _column(
    name: str, cells: list[str], lines: list[int], separator: str, path: str | os.PathLike[str]
) -> np.ndarray | None:
    """The numbers of a column; None for one of text alone, or without any label."""
    values = [_number(cell, separator) for cell in cells]
    if not any(value is not None and np.isfinite(value) for value in values):
        return None
    wrong = next((i for i, value in enumerate(values) if value is None), None)
    if wrong is not None:
        raise DirectionError(
            f"Line {lines[wrong]} of {str(path)!r} has {cells[wrong]!r:.60} in the column of numbers {name!r}.",
            "Write a number, true or false; leave the cell empty where the label is missing.",
        )
    points = [i for i, cell in enumerate(cells) if "." in cell and cell.lower() not in MISSING]
    commas = [i for i, cell in enumerate(cells) if "," in cell]
    if points and commas:
        raise DirectionError(
            f"The column {name!r} of {str(path)!r} has decimal points (line {lines[points[0]]}) and decimal commas "
            f"(line {lines[commas[0]]}).",
            "Use one of them.",
        )
    return np.array(values, np.float64)


def _number(cell: str, separator: str) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is no number."""
    plain = cell.strip().lower()
    if plain in MISSING:
        return float("nan")
    if plain in _WORDS:
        return _WORDS[plain]
    if separator != "," and _DECIMAL_COMMA.fullmatch(plain):
        plain = plain.replace(",", ".")
    try:
        value = float(plain.replace("_", "x"))  # Python reads 1_000 as a number, spreadsheets do not
    except ValueError:
        return None
    return value if np.isfinite(value) else None
