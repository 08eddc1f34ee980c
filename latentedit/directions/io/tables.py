"""The user's own labelled latents: a file of latents and a CSV table of labels, row by row."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from latentedit.attributes import canonical, get
from latentedit.directions.fitting.fit import as_w
from latentedit.directions.fitting.labelled import LabelledLatents
from latentedit.directions.io.arrays import read_arrays
from latentedit.errors import DirectionError, LatentError

_KEYS = ("ws", "w", "latents", "latent")
_ROW_COLUMNS = ("row", "index")
_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0, "": np.nan, "nan": np.nan, "na": np.nan, "none": np.nan}


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
    """The numeric columns of a CSV with a header, by name: [count] each, NaN for empty cells.

    A column ``row`` (or ``index``) says which latent a line belongs to; without it line i labels latent i. Columns
    with other text than numbers, true/false, or yes/no are left out.

    Raises:
        DirectionError: unreadable, no header, a row that does not exist, or another number of lines than latents.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            lines = list(reader)
            names = [name for name in reader.fieldnames or [] if name]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = f"The labels {str(path)!r} cannot be read: {error}."
        raise DirectionError(problem, "Give a CSV with a header.") from error
    columns = {name: _numbers([line.get(name) or "" for line in lines]) for name in names}
    row_name = next((name for name in _ROW_COLUMNS if name in columns), None)
    if row_name is None:
        rows = np.arange(len(lines))
        if len(lines) != count:
            raise DirectionError(
                f"{str(path)!r} has {len(lines)} lines for {count} latents.",
                "Give one line per latent, or a column 'row' with the number of the latent, counted from 0.",
            )
    else:
        numbers = columns.pop(row_name)
        rows = _rows(numbers, count, path)
    labels = {}
    for name, values in columns.items():
        if values is not None and np.isfinite(values).any():
            labels[name] = np.full(count, np.nan)
            labels[name][rows] = values
    if not labels:
        raise DirectionError(f"{str(path)!r} has no column of numbers.", "Give a header, and a column per attribute.")
    return labels


def read_labelled(
    latents: str | os.PathLike[str], labels: str | os.PathLike[str], *, units: dict[str, str], fingerprint: str | None
) -> LabelledLatents:
    """Latents and labels from the user's own files; ``units`` of known attributes are looked up by canonical name.

    Raises:
        LatentError, DirectionError: see `read_latents` and `read_labels`.
    """
    w = as_w(read_latents(latents))
    table = {canonical(name) if get(name) else name: values for name, values in read_labels(labels, len(w)).items()}
    return LabelledLatents(w, table, {name: units[name] for name in table if name in units}, fingerprint)


def _numbers(cells: list[str]) -> np.ndarray | None:
    values = np.empty(len(cells))
    for index, cell in enumerate(cells):
        text = cell.strip().lower()
        try:
            values[index] = _WORDS[text] if text in _WORDS else float(text)
        except ValueError:
            return None
    return values


def _rows(numbers: np.ndarray | None, count: int, path: str | os.PathLike[str]) -> np.ndarray:
    valid = numbers is not None and np.isfinite(numbers).all()
    rows = numbers.astype(int) if valid and numbers is not None else np.array([-1])
    if not valid or (len(rows) and (rows.min() < 0 or rows.max() >= count)):
        raise DirectionError(
            f"The column of row numbers in {str(path)!r} names latents that do not exist.",
            f"Rows are counted from 0 to {count - 1}.",
        )
    return rows
