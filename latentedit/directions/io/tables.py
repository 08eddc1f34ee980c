"""The user's own labelled latents: a file of latents and a CSV table of labels, row by row."""

from __future__ import annotations

import os

import numpy as np

from latentedit.attributes import canonical, get
from latentedit.directions.fitting.fit import as_w
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.io.arrays import read_arrays
from latentedit.directions.io.spreadsheets import read_spreadsheet
from latentedit.errors import DirectionError, LatentError

_KEYS = ("ws", "w", "latents", "latent")
_ROW_COLUMNS = ("row", "index")


def read_latents(path: str | os.PathLike[str]) -> np.ndarray:
    """Latents [N, L, w_dim] or [N, w_dim] from a file: the array called ``ws``, ``w`` or ``latents``, else the only
    one, else all rows of a dictionary by name in its order.

    Raises:
        LatentError: unreadable, or several arrays of different shapes.
    """
    arrays = read_arrays(path)
    for key in _KEYS:
        if key in arrays:
            return arrays[key]
    candidates = [array for array in arrays.values() if array.ndim >= 2 and array.dtype.kind == "f"]
    shapes = {array.shape[1:] for array in candidates}
    if len(shapes) != 1:
        raise LatentError(
            f"{str(path)!r} holds {', '.join(arrays)}: none of them is clearly the latents.",
            f"Name the array {' or '.join(map(repr, _KEYS[:2]))}.",
        )
    return np.concatenate(candidates)


def read_labels(path: str | os.PathLike[str], count: int) -> dict[str, np.ndarray]:
    """The numeric columns of a spreadsheet with a header, by name: [count] each, NaN where a label is missing.

    A column ``row`` (or ``index``) says which latent a line belongs to; without it line i labels latent i.

    Raises:
        DirectionError: see `read_spreadsheet`; a row that does not exist or is labelled twice, another number of lines
            than latents, or no column of numbers.
    """
    sheet = read_spreadsheet(path)
    columns = dict(sheet.columns)
    row_name = next((name for name in _ROW_COLUMNS if name in sheet.names), None)
    if row_name is None:
        rows = np.arange(len(sheet.lines))
        if len(rows) != count:
            raise DirectionError(
                f"{str(path)!r} has {len(rows)} lines for {count} latents.",
                "Give one line per latent, or a column 'row' with the number of the latent, counted from 0.",
            )
    else:
        numbers = columns.pop(row_name, np.full(len(sheet.lines), np.nan))
        rows = _rows(numbers, sheet.lines, count, path)
    if not columns:
        raise DirectionError(f"{str(path)!r} has no column of numbers.", "Give a header, and a column per attribute.")
    labels = {}
    for name, values in columns.items():
        labels[name] = np.full(count, np.nan)
        labels[name][rows] = values
    return labels


def read_labelled(
    latents: str | os.PathLike[str], labels: str | os.PathLike[str], *, units: dict[str, str], fingerprint: str | None
) -> LabelledLatents:
    """Latents and labels from the user's own files; ``units`` of known attributes are looked up by canonical name.

    Raises:
        LatentError, DirectionError: see `read_latents` and `read_labels`; two columns of one attribute.
    """
    w = as_w(read_latents(latents))
    table: dict[str, np.ndarray] = {}
    for name, values in read_labels(labels, len(w)).items():
        meant = canonical(name) if get(name) else name
        if meant in table:
            raise DirectionError(f"{str(labels)!r} labels {meant!r} in two columns.", "Keep one of them.")
        table[meant] = values
    return LabelledLatents(w, table, {name: units[name] for name in table if name in units}, fingerprint)


def _rows(numbers: np.ndarray, lines: tuple[int, ...], count: int, path: str | os.PathLike[str]) -> np.ndarray:
    seen: dict[int, int] = {}
    for line, number in zip(lines, numbers, strict=True):
        if not np.isfinite(number) or number != int(number) or not 0 <= number < count:
            raise DirectionError(
                f"Line {line} of {str(path)!r} names the latent {number:g}, which does not exist.",
                f"Rows are counted from 0 to {count - 1}.",
            )
        if int(number) in seen:
            raise DirectionError(
                f"Lines {seen[int(number)]} and {line} of {str(path)!r} both label latent {int(number)}.", "Keep one."
            )
        seen[int(number)] = line
    return numbers.astype(int)
