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
from latentedit.directions.io.contents import SPACES, Space, check_kind, from_z, ganspace, stacked
from latentedit.errors import DirectionError, FingerprintError, LatentEditError

if TYPE_CHECKING:
    from latentedit.networks import StyleGenerator

__all__ = ["import_directions"]


def import_directions(
    path: str | os.PathLike[str],
    generator: StyleGenerator,
    *,
    name: str | None = None,
    unit: str = "distance",
    space: Space = "auto",
    component: int | None = None,
) -> dict[str, Direction]:
    """Read the directions in ``path`` as those of ``generator``; by name, none of them calibrated.

    The norm that a direction had is kept in ``settings["norm"]``: published strengths times this norm are distances
    here. Layers whose rows are zero are left alone by the direction.

    Args:
        name: renames the only direction of a file, or chooses one of several.
        unit: of the amounts, where it is known.
        space: "auto" tells by keys, names and norms what the file holds, and refuses latents and boundaries of Z; "w"
            and "w+" take it as it is; "z" carries a boundary of Z over into W.
        component: which one of many in one array, from 0 on, such as GANSpace's principal components.

    Raises:
        LatentError: unreadable. FingerprintError: of a shape that the generator does not have, or already known to
        be another generator's. DirectionError: no direction in it, or not the one asked for.
    """
    own = _own(path, generator)
    if own is not None:
        return {name or own.name: own.with_(name=name or own.name)}
    source = repr(os.fspath(path))
    if space not in SPACES:
        raise DirectionError(f"Space {space!r} is unknown.", f"Choose {', '.join(SPACES)}.")
    arrays = read_arrays(path)
    spread = None
    components = ganspace(arrays)
    if components is not None:
        stem = f"{os.path.splitext(os.path.basename(os.fspath(path)))[0]}_{component}"
        arrays = {stem: components.take(component, source)}
        spread = None if components.deviations is None else float(components.deviations[component or 0])
    found = {}
    for key, array in _chosen(arrays, name, source).items():
        direction = _direction(key, _taken(key, array, generator, space, component, source), generator, path)
        label = name or identifier(key if component is None or components is not None else f"{key}_{component}")
        found[label] = direction.with_(
            name=label,
            unit=_unit(label) if unit == "distance" else unit,
            metrics={} if spread is None else {"spread": spread},
        )
    return found


def _chosen(arrays: dict[str, np.ndarray], name: str | None, source: str) -> dict[str, np.ndarray]:
    """The arrays that ``name`` asks for, by the keys of the file."""
    if name is None or len(arrays) == 1:
        return arrays
    known = {identifier(key): key for key in arrays}
    if name not in known:
        raise DirectionError(f"{source} has no direction {name!r}.", f"It holds: {', '.join(known)}.")
    return {known[name]: arrays[known[name]]}


def identifier(text: str) -> str:
    """``text`` as a name that can be typed as an option and a keyword."""
    plain = re.sub(r"\W+", "_", text.strip()).strip("_").lower() or "direction"
    return f"d_{plain}" if plain[0].isdigit() else plain


def _own(path: str | os.PathLike[str], generator: StyleGenerator) -> Direction | None:
    """A file of latentedit's own, checked against the generator; None for everything else."""
    from latentedit.networks import fingerprint, mapping_fingerprint

    if not os.fspath(path).endswith(".safetensors"):
        return None
    try:
        direction = from_file(path)
    except LatentEditError:
        return None
    own, mapping = fingerprint(generator), mapping_fingerprint(generator.mapping)
    direction.check(own, mapping)
    return direction.with_(fingerprint=direction.fingerprint or own, mapping=direction.mapping or mapping)


Taken = tuple[str, np.ndarray, float | None]


def _taken(
    key: str, array: np.ndarray, generator: StyleGenerator, space: Space, component: int | None, source: str
) -> Taken:
    """What ``array`` is, its rows [D] or [L, D] in W, and how far samples agree on a boundary of Z."""
    if space == "z":
        rows, agreement = from_z(array, generator)
        return "a boundary of Z, carried over into W", rows, agreement
    if space == "auto":
        check_kind(key, array, generator, source)
    many = stacked(array, generator)
    what = "a direction of W"
    if many is not None:
        array, what = many.take(component, source), f"component {component} of {len(many.rows)}"
    rows = array[0] if array.ndim >= 2 and array.shape[0] == 1 else array
    rows = rows[0] if rows.ndim == 2 and rows.shape[0] == 1 else rows
    if rows.shape not in ((generator.w_dim,), (generator.num_ws, generator.w_dim)):
        raise FingerprintError(
            f"Direction {key!r} in {source} has shape {list(array.shape)}, which this generator "
            f"(w_dim {generator.w_dim}, {generator.num_ws} layers) does not have.",
            "Name the generator that it was made for with --model.",
        )
    return what if rows.ndim == 1 else f"{what.replace('of W', 'of W+')}, a row for each layer", rows, None


def _direction(key: str, taken: Taken, generator: StyleGenerator, path: str | os.PathLike[str]) -> Direction:
    from latentedit.networks import fingerprint

    what, rows, agreement = taken
    normal = torch.from_numpy(rows.astype(np.float64))
    if not bool(torch.isfinite(normal).all()):
        raise DirectionError(f"Direction {key!r} in {os.fspath(path)!r} holds values that are not finite.", None)
    layers = None
    if normal.ndim == 2:
        acting = normal.norm(dim=1) > 1e-8 * normal.norm(dim=1).max().clamp_min(1e-30)
        layers = None if bool(acting.all()) else tuple(torch.nonzero(acting).flatten().tolist())
        shown = normal[acting]
        if len(shown) and torch.allclose(shown, shown[:1].expand_as(shown), rtol=1e-6, atol=1e-9):
            normal = shown[0]  # one normal, repeated: a direction of W
    norm = float(normal.square().sum(-1).mean().sqrt())
    settings = {"imported": os.path.basename(os.fspath(path)), "norm": norm, "kind": what}
    if agreement is not None:
        settings["agreement"] = round(agreement, 4)
    return Direction(key, normal, layers=layers, fingerprint=fingerprint(generator), settings=settings)


def _unit(name: str) -> str:
    """Years and degrees by name; the rest has no unit before it is calibrated."""
    known = unit_of(name)
    return "distance" if known is None or known == PROBABILITY else known
