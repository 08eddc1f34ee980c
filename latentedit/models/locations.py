"""Where models and directions live: inside the package, and in the user's data folder."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path

import platformdirs

from latentedit.errors import ModelError
from latentedit.files import read_metadata

EMBEDDED = "faces64"
HOME_VARIABLE = "LATENTEDIT_HOME"


def data_folder() -> Path:
    """The user's data folder; the environment variable ``LATENTEDIT_HOME`` overrides the platform's place."""
    override = os.environ.get(HOME_VARIABLE)
    return Path(override) if override else platformdirs.user_data_path("latentedit", appauthor=False)


def models_folder() -> Path:
    """Folder of the registered models, one folder each."""
    return data_folder() / "models"


def user_directions(fingerprint: str) -> Path:
    """Folder of the user's own directions for the generator with ``fingerprint``."""
    return data_folder() / "directions" / fingerprint


def embedded_folder() -> Path:
    """Folder of the model that is part of the package."""
    return Path(str(resources.files("latentedit.assets"))) / EMBEDDED


def shipped_directions(model: str = EMBEDDED) -> Path | None:
    """Folder of the directions that the package ships for ``model``; None where it ships none."""
    folder = _all_shipped() / model
    return folder if folder.is_dir() else None


@cache
def shipped_for(fingerprint: str, mapping: str = "") -> Path | None:
    """The same for whichever model has the generator ``fingerprint``, else one whose W is that of ``mapping``.

    A copy has the directions of its original, and generators that share their W share directions.
    """
    owners = {folder: owner(folder) for folder in sorted(_all_shipped().glob("*")) if folder.is_dir()}
    exact = (folder for folder, (generator, _) in owners.items() if generator == fingerprint)
    sharing = (folder for folder, (_, shared) in owners.items() if mapping and shared == mapping)
    return next(exact, None) or next(sharing, None)


def sharing_directions(mapping: str) -> tuple[Path, ...]:
    """Folders of the user's own directions for the generators whose W is that of ``mapping``."""
    folders = sorted(data_folder().glob("directions/*"))
    return tuple(folder for folder in folders if folder.is_dir() and owner(folder)[1] == mapping)


def owner(folder: Path) -> tuple[str, str]:
    """Fingerprints of generator and mapping of a folder of directions: those in its first readable file."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            metadata = read_metadata(path)
        except ModelError:
            continue
        return metadata.get("fingerprint", ""), metadata.get("mapping", "")
    return "", ""


def _all_shipped() -> Path:
    """Where the package keeps a folder of directions for each model that it has some for."""
    try:
        return Path(str(resources.files("latentedit.assets.directions")))
    except ModuleNotFoundError:  # a plain source tree on sys.path, without the mapping of an installation
        return Path(str(resources.files("latentedit"))).parent / "directions"
