"""The faces that commands work on: photos, which are inverted first, and files of latents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import progress
from latentedit.errors import OutputError
from latentedit.inversion.methods.table import CHOICES

if TYPE_CHECKING:
    from latentedit.inversion import Progress
    from latentedit.models import Model

LATENT_SUFFIXES = (".safetensors", ".npz", ".npy", ".pt")

FACE_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)

method_option = click.option(
    "--method",
    type=click.Choice(CHOICES),
    default="auto",
    show_default=True,
    help="How photos are inverted; see `latentedit invert --help`.",
)
steps_option = click.option("--steps", type=click.IntRange(min=0), help="Steps of the inversion at most.")


def open_model(model: str | None, device: str) -> Model:
    """The model of ``--model`` on ``--device``."""
    from latentedit.models import load_model

    return load_model(model, device=device)


def is_latent(path: Path) -> bool:
    """Whether a file holds latents rather than a photo, by its suffix."""
    return path.suffix.lower() in LATENT_SUFFIXES


def open_faces(
    paths: Sequence[Path],
    model: Model,
    *,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    face: int | str = 1,
) -> list[list[Any]]:
    """For every path its faces: inversions of a photo (all in one batch), or what a file of latents holds."""
    from latentedit.editing.subject import read_latents
    from latentedit.inversion import InversionConfig
    from latentedit.inversion.api import invert_portraits
    from latentedit.inversion.methods.table import find_method
    from latentedit.inversion.photos import gather

    sources = {i: gather(path, model=model, face=face) for i, path in enumerate(paths) if not is_latent(path)}
    faces: list[list[Any]] = [[] if i in sources else [read_latents(path)] for i, path in enumerate(paths)]
    if not sources:
        return faces
    owners = [i for i, found in sources.items() for _ in found]
    chosen = find_method(method, model)
    config = InversionConfig(steps=steps)
    planned = chosen.plan(config).total
    total = max(planned, 1)
    with progress("Inverting", total=total * len(owners)) as bar:

        def follow(event: Progress) -> None:
            bar.update(event.completed)

        flat = [source for found in sources.values() for source in found]
        callback = follow if planned else None
        results = invert_portraits(flat, model=model, method=chosen, config=config, seed=seed, callback=callback)
        for owner, inversion in zip(owners, results, strict=True):
            faces[owner].append(inversion)
    return faces


def has_photo(face: Any) -> bool:
    """Whether an edit of this face can go back into a photo."""
    from latentedit.inversion import Inversion

    return isinstance(face, Inversion) and face.aligned is not None


def check_picture(path: Path) -> None:
    """Find out before the work that a picture cannot be written under this name.

    Raises:
        OutputError: a suffix that names no kind of picture.
    """
    from PIL import Image

    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise OutputError(
            f"{str(path)!r} does not say what kind of picture to write.", "End it in .png, .jpg, .webp, or .tif."
        )


def numbered(path: Path, count: int) -> list[Path]:
    """``count`` names of files: ``out.png``, or ``out-1.png``, ``out-2.png`` ..."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, count + 1)]


def write_json(values: Any, path: Path) -> None:
    """Write ``values`` as indented JSON, whole or not at all."""
    from latentedit.files import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
