"""The faces that commands work on: photos, which are inverted first, and files of latents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import progress
from latentedit.cli._types import InputFile
from latentedit.errors import ImageError
from latentedit.inversion.methods.table import CHOICES

if TYPE_CHECKING:
    from latentedit.images import Photo
    from latentedit.inversion import Progress
    from latentedit.models import Model

LATENT_FILES = (".npz", ".npy", ".pt")
"""What may hold several latents."""
LATENT_SUFFIXES = (".safetensors", *LATENT_FILES)

FACE_FILE = InputFile()

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


def open_photos(paths: Sequence[Path], max_pixels: int) -> dict[Path, Photo]:
    """The photos among ``paths``, with what they carry; files of latents are left out."""
    from latentedit.images import open_photo

    return {path: open_photo(path, max_pixels=max_pixels) for path in paths if not is_latent(path)}


def open_faces(
    paths: Sequence[Path],
    model: Model,
    *,
    photos: Mapping[Path, Photo] | None = None,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    face: int | str = 1,
) -> list[list[Any]]:
    """For every path its faces: inversions of a photo (all in one batch), or what a file of latents holds.

    ``photos`` are those that are open already.
    """
    from latentedit.editing.subject import read_latents
    from latentedit.inversion import InversionConfig
    from latentedit.inversion.api import invert_portraits
    from latentedit.inversion.methods.table import find_method
    from latentedit.inversion.photos import gather

    opened = photos or {}
    wanted = [(i, path) for i, path in enumerate(paths) if not is_latent(path)]
    with progress("Finding faces", total=len(wanted)) as bar:
        sources = {}
        for i, path in wanted:
            sources[i] = gather(opened.get(path, path), model=model, face=face)
            bar.advance()
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


def original_of(face: Any, max_pixels: int) -> Photo:
    """The photo that an inversion was made of, with what it carries."""
    if face.photo is None:
        raise ImageError("The inversion kept no photo.", "Give it with photo=.", typed="Give it with --photo.")
    return face.photo.open_photo(max_pixels=max_pixels)


def has_photo(face: Any) -> bool:
    """Whether an edit of this face can go back into a photo."""
    from latentedit.inversion import Inversion

    return isinstance(face, Inversion) and face.aligned is not None


def write_json(values: Any, path: Path) -> None:
    """Write ``values`` as indented JSON, whole or not at all."""
    from latentedit.files import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
