"""``latentedit align``: faces of photos as the crops that a generator expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentedit.cli._common import (
    PHOTO,
    Command,
    face_option,
    max_pixels_option,
    model_option,
    outdir_option,
    progress,
)
from latentedit.cli._outputs import Names

if TYPE_CHECKING:
    from latentedit.faces import AlignedFace, CropTemplate


@click.command(cls=Command)
@click.argument("photos", nargs=-1, required=True, type=PHOTO, metavar="PHOTO...")
@click.option(
    "--size", type=click.IntRange(1, 8192), help="Side of the crops in pixels.  [default: the model's, or 256]"
)
@click.option("--ffhq", is_flag=True, help="Cut as FFHQ does, whatever the model; no model is loaded.")
@click.option(
    "--detector", type=click.Choice(["auto", "hog", "cnn"]), default="auto", show_default=True,
    help="hog: fast, frontal faces; cnn: slow, masked and turned ones too; auto: cnn where hog sees none.",
)  # fmt: skip
@face_option
@model_option
@max_pixels_option
@outdir_option("aligned")
def command(
    photos: tuple[Path, ...],
    size: int | None,
    ffhq: bool,
    detector: str,
    face: int | str,
    model: str | None,
    max_pixels: int,
    outdir: Path,
) -> None:
    """Cut the faces out of photos as the generator expects them.

    Writes NAME.png for every photo, NAME-1.png and so on with --face all, and beside each a .json with the corners of
    the crop in the photo (top left, bottom left, bottom right, top right) and the 68 landmarks.
    """
    from latentedit.faces import align_photo
    from latentedit.images import load_image, save_image

    if ffhq and model:
        raise click.UsageError("--ffhq uses no model. Leave out one of --ffhq and --model.")
    template, size = _template(model, ffhq, size)
    names = Names(outdir, photos)
    with progress("Aligning", total=len(photos)) as bar:
        for photo in photos:
            opened = load_image(photo, max_pixels=max_pixels)
            found = align_photo(opened, template, size, face=face, detector=detector, name=str(photo))  # pyright: ignore[reportArgumentType]
            faces = found if isinstance(found, list) else [found]
            endings = [f"-{number}" for number in range(1, len(faces) + 1)] if isinstance(found, list) else [""]
            name = names.take(photo.stem, [end + suffix for end in endings for suffix in (".png", ".json")])
            for end, one in zip(endings, faces, strict=True):
                target = outdir / f"{name}{end}.png"
                save_image(one.crop, target)
                _write_facts(one, photo, target.with_suffix(".json"))
                click.echo(str(target))
            bar.advance()


def _template(model: str | None, ffhq: bool, size: int | None) -> tuple[CropTemplate, int]:
    from latentedit.faces import FFHQ

    if ffhq:
        return FFHQ, size or 256
    from latentedit.models import load_model

    loaded = load_model(model)
    return loaded.template, size or loaded.generator.resolution


def _write_facts(face: AlignedFace, photo: Path, path: Path) -> None:
    from latentedit.files import atomic_path

    facts = {
        "photo": photo.name,
        "size": face.crop.width,
        "template": face.template.to_dict(),
        "quad": face.quad.round(3).tolist(),
        "landmarks": face.landmarks.round(2).tolist(),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
