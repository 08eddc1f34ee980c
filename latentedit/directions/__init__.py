"""Directions of latent space: labelled latents, linear separation, units, and where to find what is known.

The names below are imported when they are first used; scikit-learn is loaded by the functions that fit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentedit.directions.calibration import Calibration
    from latentedit.directions.components import discover_components, discover_weights
    from latentedit.directions.direction import Direction, OutOfRangeWarning, load_direction, save_directions
    from latentedit.directions.discover import DiscoverConfig, discover_directions
    from latentedit.directions.fitting.config import FitConfig, ProcedureConfig
    from latentedit.directions.fitting.fit import fit_direction
    from latentedit.directions.fitting.isotonic import calibrate
    from latentedit.directions.fitting.labelled import LabelledLatents, SampleConfig, sample_labelled
    from latentedit.directions.fitting.pipeline import fit_attributes
    from latentedit.directions.io.importing import import_directions
    from latentedit.directions.store import list_directions, remove_direction

_HOMES = {
    "Calibration": "calibration",
    "Direction": "direction",
    "DiscoverConfig": "discover",
    "FitConfig": "fitting.config",
    "LabelledLatents": "fitting.labelled",
    "OutOfRangeWarning": "direction",
    "ProcedureConfig": "fitting.config",
    "SampleConfig": "fitting.labelled",
    "calibrate": "fitting.isotonic",
    "discover_directions": "discover",
    "discover_components": "components",
    "discover_weights": "components",
    "fit_attributes": "fitting.pipeline",
    "fit_direction": "fitting.fit",
    "import_directions": "io.importing",
    "list_directions": "store",
    "load_direction": "direction",
    "remove_direction": "store",
    "sample_labelled": "fitting.labelled",
    "save_directions": "direction",
}

__all__ = [
    "Calibration",
    "Direction",
    "DiscoverConfig",
    "FitConfig",
    "LabelledLatents",
    "OutOfRangeWarning",
    "ProcedureConfig",
    "SampleConfig",
    "calibrate",
    "discover_components",
    "discover_directions",
    "discover_weights",
    "fit_attributes",
    "fit_direction",
    "import_directions",
    "list_directions",
    "load_direction",
    "remove_direction",
    "sample_labelled",
    "save_directions",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
