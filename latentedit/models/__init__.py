"""Models: a generator with its companions, their files and folders, and the registry of named ones."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentedit.models.folder import save_model
    from latentedit.models.loading import ModelLike, as_model, load_generator, load_model, registered_names
    from latentedit.models.locations import data_folder, embedded_folder, models_folder, shipped_directions
    from latentedit.models.model import Model
    from latentedit.models.network_file import load_network, save_network

__all__ = [
    "Model",
    "ModelLike",
    "as_model",
    "data_folder",
    "embedded_folder",
    "load_generator",
    "load_model",
    "load_network",
    "models_folder",
    "registered_names",
    "save_model",
    "save_network",
    "shipped_directions",
]

_HOMES = {
    "Model": "model",
    "ModelLike": "loading",
    "as_model": "loading",
    "data_folder": "locations",
    "embedded_folder": "locations",
    "load_generator": "loading",
    "load_model": "loading",
    "load_network": "network_file",
    "models_folder": "locations",
    "registered_names": "loading",
    "save_model": "folder",
    "save_network": "network_file",
    "shipped_directions": "locations",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
