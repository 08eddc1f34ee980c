"""The public names, and what it costs to import them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import latentedit

PUBLIC = [
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
HEAVY = ("torch", "dlib", "sklearn", "scipy", "matplotlib", "numpy", "PIL", "imageio")


def fresh(code: str) -> str:
    """What ``code`` prints in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names_are_exactly_these() -> None:
    assert latentedit.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(latentedit))


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(latentedit, name)
    assert callable(value)
    assert value.__name__ == name
    assert value.__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'latentedit' has no attribute 'exit'"):
        latentedit.exit  # noqa: B018


def test_import_is_light() -> None:
    code = f"import latentedit, latentedit.errors, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert fresh(code).strip() == "[]"


def test_import_takes_less_than_100_ms() -> None:
    code = "import time; t = time.perf_counter(); import latentedit; print(time.perf_counter() - t)"
    assert min(float(fresh(code)) for _ in range(5)) < 0.1


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
@pytest.mark.parametrize("group", ["main", "direction_main"])
def test_help_of_the_commands_is_light(group: str, arguments: list[str]) -> None:
    code = (
        f"import sys, json; from latentedit.cli import {group}; {group}.main({arguments!r}, standalone_mode=False);"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    assert json.loads(fresh(code).splitlines()[-1]) == []
