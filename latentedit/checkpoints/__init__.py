"""Models and checkpoints: the own format, safe reading of everybody else's, and the registry of named models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentedit.checkpoints.loading import load_generator, load_model, registered_names
    from latentedit.checkpoints.model import Model, save_model
    from latentedit.checkpoints.own import load_network, save_network
    from latentedit.checkpoints.paths import data_folder, embedded_folder, models_folder, shipped_directions

__all__ = [
    "Model",
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
    "data_folder": "paths",
    "embedded_folder": "paths",
    "load_generator": "loading",
    "load_model": "loading",
    "load_network": "own",
    "models_folder": "paths",
    "registered_names": "loading",
    "save_model": "model",
    "save_network": "own",
    "shipped_directions": "paths",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
