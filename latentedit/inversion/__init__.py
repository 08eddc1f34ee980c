"""Inversion: from the photo of a face to the latent that renders it.

The names below are imported when they are first used, so that a command can list the methods without loading PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentedit.inversion.api import invert
    from latentedit.inversion.config import InversionConfig
    from latentedit.inversion.inversion import Inversion
    from latentedit.inversion.latent_files import load_latents
    from latentedit.inversion.problem import Progress
    from latentedit.inversion.reference import PhotoReference

_HOMES = {
    "Inversion": "inversion",
    "InversionConfig": "config",
    "PhotoReference": "reference",
    "Progress": "problem",
    "invert": "api",
    "load_latents": "latent_files",
}

__all__ = ["Inversion", "InversionConfig", "PhotoReference", "Progress", "invert", "load_latents"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
