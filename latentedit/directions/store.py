"""Where directions are found and put: beside the model, and in the user's data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from latentedit.directions.direction import Direction, from_file
from latentedit.errors import DirectionError

if TYPE_CHECKING:
    from latentedit.models import Model

SUFFIX = ".safetensors"
Source = str | os.PathLike[str]


def list_directions(model: Model | Source | None = None) -> dict[str, Path]:
    """Paths of the known directions of ``model`` (None: the embedded one) by name, in alphabetical order.

    The user's own (fitted or imported without ``-o``) come before those that came with the model.
    """
    found: dict[str, Path] = {}
    for folder in _model(model).direction_folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if not path.name.startswith("."):
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def load_direction(source: Source, model: Model | Source | None = None) -> Direction:
    """A direction by name, or from a file; see `Direction.load`."""
    text = os.fspath(source)
    is_path = text.endswith(SUFFIX) or os.sep in text or not isinstance(source, str)
    if is_path:
        direction = from_file(source)
        if model is not None:
            direction.check(_model(model).fingerprint)
        return direction
    owner = _model(model)
    known = list_directions(owner)
    path = next((known[name] for name in _spellings(text) if name in known), None)
    if path is None:
        remedy = f"Known directions of {owner.name!r}: {', '.join(known)}." if known else "The model has none."
        raise DirectionError(
            f"Unknown attribute or direction {text!r}.", f"{remedy} Fit one with `latentedit-direction fit`."
        )
    direction = from_file(path)
    direction.check(owner.fingerprint)
    return direction


def load_directions(model: Model | Source | None = None) -> dict[str, Direction]:
    """All known directions of ``model`` by name.

    Raises:
        FingerprintError: one of them belongs to another generator.
    """
    owner = _model(model)
    return {name: load_direction(path, owner) for name, path in list_directions(owner).items()}


def save_directions(directions: Mapping[str, Direction], folder: Source) -> dict[str, Path]:
    """Write ``directions`` as ``folder/<name>.safetensors`` and return their paths.

    Raises:
        DirectionError: a name that is no plain file name.
        OutputError: the folder cannot be written.
    """
    for name in directions:
        check_name(name)
    return {name: direction.save(Path(folder) / f"{name}{SUFFIX}") for name, direction in directions.items()}


def check_name(name: str) -> str:
    """``name``, if it can be typed as an option and a keyword.

    Raises:
        DirectionError: it cannot.
    """
    if not name.isidentifier():
        raise DirectionError(
            f"{name!r} cannot be the name of a direction.", "Use letters, digits and underscores, such as 'big_smile'."
        )
    return name


def _spellings(name: str) -> list[str]:
    """``name`` and what else it is called: the canonical attribute, and its aliases."""
    from latentedit.networks.perception import ALIASES

    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    canonical = ALIASES.get(plain, plain)
    return [name, plain, canonical, *(alias for alias, target in ALIASES.items() if target == canonical)]


def _model(model: Model | Source | None) -> Model:
    from latentedit.models import load_model

    return load_model(model) if model is None or isinstance(model, (str, os.PathLike)) else model
