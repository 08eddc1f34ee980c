"""Where models and directions live: inside the package, and in the user's data folder."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import platformdirs

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


def shipped_directions() -> Path | None:
    """Folder of the directions of the embedded model; None where the installation has none."""
    try:
        folder = Path(str(resources.files("latentedit.assets.directions")))
    except ModuleNotFoundError:  # a plain source tree on sys.path, without the mapping of an installation
        folder = Path(str(resources.files("latentedit"))).parent / "directions"
    return folder if folder.is_dir() else None
