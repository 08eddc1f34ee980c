"""Edit real faces by arithmetic on their StyleGAN latents.

A photo goes in, its latent comes out, every edit is arithmetic on that latent, and the edited face goes back into the
photo. The public names are imported when they are first used, so that ``import latentedit`` costs next to nothing and
loads neither PyTorch nor dlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentedit.directions import Direction, fit_direction
    from latentedit.editing import Edit, Interpolation, edit, interpolate, mix
    from latentedit.errors import LatentEditError
    from latentedit.faces import AlignedFace
    from latentedit.inversion import Inversion, InversionConfig, invert
    from latentedit.models import Model, load_generator, load_model

__version__ = "0.1.0"

__all__ = [
    "AlignedFace",
    "Direction",
    "Edit",
    "Interpolation",
    "Inversion",
    "InversionConfig",
    "LatentEditError",
    "Model",
    "__version__",
    "edit",
    "fit_direction",
    "interpolate",
    "invert",
    "load_generator",
    "load_model",
    "mix",
]

_HOMES = {
    "AlignedFace": "latentedit.faces",
    "Direction": "latentedit.directions",
    "Edit": "latentedit.editing",
    "Interpolation": "latentedit.editing",
    "Inversion": "latentedit.inversion",
    "InversionConfig": "latentedit.inversion",
    "LatentEditError": "latentedit.errors",
    "Model": "latentedit.models",
    "edit": "latentedit.editing",
    "fit_direction": "latentedit.directions",
    "interpolate": "latentedit.editing",
    "invert": "latentedit.inversion",
    "load_generator": "latentedit.models",
    "load_model": "latentedit.models",
    "mix": "latentedit.editing",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
