"""Directions of other projects: ``.npy``, ``.npz``, ``.pt`` of any usual shape.

A file cannot tell which generator it belongs to; the caller must. Shapes in the wild: [w_dim] and [1, w_dim] of unit
norm, [L, w_dim] and [1, L, w_dim] not normalised, and dictionaries of these.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np
import torch

from latentedit.attributes import PROBABILITY, unit_of
from latentedit.directions.direction import Direction, from_file
from latentedit.directions.io.arrays import read_arrays
from latentedit.errors import DirectionError, FingerprintError, LatentEditError

if TYPE_CHECKING:
    from latentedit.networks import StyleGenerator

__all__ = ["import_directions"]


def import_directions(
    path: str | os.PathLike[str], generator: StyleGenerator, *, name: str | None = None, unit: str = "distance"
) -> dict[str, Direction]:
    """Read the directions in ``path`` as those of ``generator``; by name, none of them calibrated.

    ``name`` renames the only one of a file, or chooses one of several. The norm that a direction had is kept in
    ``settings["norm"]``: published strengths times this norm are distances here. Layers whose rows are zero are
    left alone by the direction.

    Raises:
        LatentError: unreadable. FingerprintError: of a shape that the generator does not have, or already known to
        be another generator's. DirectionError: no direction in it, or not the one asked for.
    """
    own = _own(path, generator)
    if own is not None:
        return {name or own.name: own.with_(name=name or own.name)}
    arrays = {identifier(key): array for key, array in read_arrays(path).items()}
    if name is not None and len(arrays) == 1:
        arrays = {name: next(iter(arrays.values()))}
    elif name is not None:
        if name not in arrays:
            raise DirectionError(f"{str(path)!r} has no direction {name!r}.", f"It holds: {', '.join(arrays)}.")
        arrays = {name: arrays[name]}
    from latentedit.networks import fingerprint

    digest = fingerprint(generator)
    return {key: _direction(key, array, generator, digest, unit, path) for key, array in arrays.items()}


def identifier(text: str) -> str:
    """``text`` as a name that can be typed as an option and a keyword."""
    plain = re.sub(r"\W+", "_", text.strip()).strip("_").lower() or "direction"
    return f"d_{plain}" if plain[0].isdigit() else plain


def _own(path: str | os.PathLike[str], generator: StyleGenerator) -> Direction | None:
    """A file of latentedit's own, checked against the generator; None for everything else."""
    from latentedit.networks import fingerprint

    if not os.fspath(path).endswith(".safetensors"):
        return None
    try:
        direction = from_file(path)
    except LatentEditError:
        return None
    direction.check(fingerprint(generator))
    return direction.with_(fingerprint=fingerprint(generator))


def _direction(
    name: str, array: np.ndarray, generator: StyleGenerator, digest: str, unit: str, path: str | os.PathLike[str]
) -> Direction:
    rows = array[0] if array.ndim >= 2 and array.shape[0] == 1 else array
    rows = rows[0] if rows.ndim == 2 and rows.shape[0] == 1 else rows
    fits = rows.shape in ((generator.w_dim,), (generator.num_ws, generator.w_dim))
    if not fits:
        raise FingerprintError(
            f"Direction {name!r} in {os.fspath(path)!r} has shape {list(array.shape)}, which this generator "
            f"(w_dim {generator.w_dim}, {generator.num_ws} layers) does not have.",
            "Name the generator that it was made for with --model.",
        )
    normal = torch.from_numpy(rows.astype(np.float64))
    if not bool(torch.isfinite(normal).all()):
        raise DirectionError(f"Direction {name!r} in {os.fspath(path)!r} holds values that are not finite.", None)
    layers = None
    if normal.ndim == 2:
        acting = normal.norm(dim=1) > 1e-8 * normal.norm(dim=1).max().clamp_min(1e-30)
        layers = None if bool(acting.all()) else tuple(torch.nonzero(acting).flatten().tolist())
        shown = normal[acting]
        if len(shown) and torch.allclose(shown, shown[:1].expand_as(shown), rtol=1e-6, atol=1e-9):
            normal = shown[0]  # one normal, repeated: a direction of W
    norm = float(normal.square().sum(-1).mean().sqrt())
    return Direction(
        name=name,
        normal=normal,
        layers=layers,
        unit=_unit(name) if unit == "distance" else unit,
        fingerprint=digest,
        settings={"imported": os.path.basename(os.fspath(path)), "norm": norm},
    )


def _unit(name: str) -> str:
    """Years and degrees by name; the rest has no unit before it is calibrated."""
    known = unit_of(name)
    return "distance" if known is None or known == PROBABILITY else known
