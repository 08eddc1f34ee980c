"""Where directions are found and put, and the layout of their files; what is in them is `direction`'s business.

A direction is one ``.safetensors`` file: tensors, and metadata with the fingerprint of its generator and everything
else as JSON. A model finds the user's own (fitted or imported without ``-o``) before those that came with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from latentedit import attributes
from latentedit.errors import DirectionError, ModelError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

    from latentedit.models import Model

SUFFIX = ".safetensors"
FORMAT = "latentedit"
KIND = "direction"
Place = str | os.PathLike[str]


class Owner(NamedTuple):
    """Whose a direction is: fingerprints of the generator and of its mapping network; None where unknown."""

    fingerprint: str | None = None
    mapping: str | None = None


@dataclass(frozen=True)
class Listed:
    """A direction of a model by ``name``: its ``path``, whether it is the user's own (``yours``) or came with the
    model, and the path that it ``shadows``: another one of the same name, which edits no longer find."""

    name: str
    path: Path
    yours: bool
    shadows: Path | None = None


def listed_directions(model: Model | Place | None = None) -> dict[str, Listed]:
    """The known directions of ``model`` (None: the default one) by name, in alphabetical order."""
    owner = as_model(model)
    found: dict[str, Listed] = {}
    for folder in owner.direction_folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            first = found.get(path.stem)
            if path.name.startswith("."):
                continue
            if first is None:
                found[path.stem] = Listed(path.stem, path, yours=folder == owner.user_directions)
            elif first.shadows is None:
                found[path.stem] = Listed(first.name, first.path, first.yours, shadows=path)
    return dict(sorted(found.items()))


def list_directions(model: Model | Place | None = None) -> dict[str, Path]:
    """Paths of the known directions of ``model`` (None: the default one) by name, in alphabetical order.

    The user's own come before those that came with the model.
    """
    return {name: found.path for name, found in listed_directions(model).items()}


def find_direction(name: str, model: Model | Place | None = None) -> Path:
    """Where the direction ``name`` of ``model`` lies, under any of the attribute's names.

    Raises:
        UnknownAttributeError: none of that name; the known ones are listed.
    """
    owner = as_model(model)
    known = list_directions(owner)
    listed = f"Known directions of {owner.name!r}: {', '.join(known)}." if known else f"{owner.name!r} has none."
    return known[attributes.resolve(name, known, remedy=f"{listed} Fit one with `latentedit-direction fit`.")]


def remove_direction(name: str, model: Model | Place | None = None) -> Listed:
    """Delete the user's own direction ``name`` of ``model`` and say what it was; what it shadowed counts again.

    Raises:
        UnknownAttributeError: none of that name. DirectionError: it came with the model. OutputError: it cannot be
        deleted.
    """
    owner = as_model(model)
    known = listed_directions(owner)
    found = known[attributes.resolve(name, known)]
    if not found.yours:
        raise DirectionError(
            f"The direction {found.name!r} came with the model {owner.name!r} and stays there.",
            "Only directions that you fitted or imported can be removed; `latentedit-direction list` names them.",
        )
    try:
        found.path.unlink()
    except OSError as error:
        raise OutputError(f"Cannot delete {str(found.path)!r}: {error.strerror}.", "Check its permissions.") from error
    return found


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


def is_file_name(source: Place) -> bool:
    """Whether ``source`` is a path rather than the name of a direction."""
    text = os.fspath(source)
    return text.endswith(SUFFIX) or os.sep in text or not isinstance(source, str)


def as_model(model: Model | Place | None) -> Model:
    """``model``, loaded where it is a name, a folder or nothing."""
    from latentedit.models import load_model

    return load_model(model) if model is None or isinstance(model, (str, os.PathLike)) else model


def write_file(path: Place, tensors: Mapping[str, Tensor], described: Mapping[str, Any], owner: Owner) -> Path:
    """Write one direction file and return its path, which ends in ``.safetensors``.

    Raises:
        OutputError: it cannot be written.
    """
    from latentedit.files import save_tensors

    metadata = {
        "format": FORMAT,
        "kind": KIND,
        "fingerprint": owner.fingerprint or "",
        "config": json.dumps(described, sort_keys=True),
        **({"mapping": owner.mapping} if owner.mapping else {}),
    }
    target = Path(path)
    target = target if target.suffix == SUFFIX else target.with_name(target.name + SUFFIX)
    save_tensors(target, tensors, metadata)
    return target


def read_file(path: Place) -> tuple[dict[str, Tensor], dict[str, Any], Owner]:
    """Tensors, description, and owner of one direction file.

    Raises:
        DirectionError: the file is missing, damaged, or holds something else.
    """
    from latentedit.files import read_metadata, read_tensors

    try:
        metadata, tensors = read_metadata(path), read_tensors(path)
    except ModelError as error:
        raise DirectionError(error.problem, error.remedy) from error
    if metadata.get("format") != FORMAT or metadata.get("kind") != KIND or "normal" not in tensors:
        raise DirectionError(
            f"{str(path)!r} is no direction of latentedit.",
            "Import directions of other projects with `latentedit-direction import`.",
        )
    try:
        described = json.loads(metadata.get("config", ""))
        if not isinstance(described, dict):
            raise ValueError("its description is no object")
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    return tensors, described, Owner(metadata.get("fingerprint") or None, metadata.get("mapping") or None)


def damaged(path: Place, error: Exception) -> DirectionError:
    """The error of a file that holds a direction, but not a sound one."""
    return DirectionError(f"{str(path)!r} is damaged: {error}.", "Copy or fit it again.")
