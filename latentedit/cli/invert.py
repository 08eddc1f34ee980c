"""``latentedit invert``: photos to latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import (
    PHOTO,
    Command,
    device_option,
    face_option,
    max_pixels_option,
    model_option,
    outdir_option,
    progress,
    seed_option,
)
from latentedit.cli._outputs import Names
from latentedit.inversion.methods.table import CHOICES, METHODS

if TYPE_CHECKING:
    from PIL import Image

    from latentedit.inversion import Inversion, Progress
    from latentedit.inversion.photos import Portrait
    from latentedit.models import Model

_ENDINGS = (".safetensors", ".png", "-target.png", "-projected_w.npz")
_VIDEO_FRAMES = 120
_VIDEO_FPS = 30.0
_VIDEO_SIDE = 256


@click.command(cls=Command)
@click.argument("photos", nargs=-1, required=True, type=PHOTO, metavar="PHOTO...")
@click.option(
    "--method",
    type=click.Choice(CHOICES),
    default="auto",
    show_default=True,
    help="; ".join(f"{name}: {what}" for name, what in METHODS.items()) + "; auto: hybrid where there is an encoder.",
)
@click.option("--steps", type=click.IntRange(min=0), help="Steps of descent at most.  [default: the method's own]")
@click.option("--aligned", is_flag=True, help="The photos are crops already: find no face, cut nothing.")
@click.option(
    "--refine",
    type=click.Choice(["auto", "weights", "none"]),
    default="auto",
    show_default=True,
    help="weights: spend the last steps on a small change of the generator, for this photo only; auto: with hybrid.",
)
@click.option("--save-video", is_flag=True, help="Film the descent beside its target (NAME.mp4).")
@click.option("--embed-photo", is_flag=True, help="Keep the photo inside NAME.safetensors.")
@face_option
@seed_option
@model_option
@device_option
@max_pixels_option
@outdir_option("inversions")
def command(
    photos: tuple[Path, ...],
    method: str,
    steps: int | None,
    aligned: bool,
    refine: Any,
    save_video: bool,
    embed_photo: bool,
    face: int | str,
    seed: int,
    model: str | None,
    device: str,
    max_pixels: int,
    outdir: Path,
) -> None:
    """Find the latents of the faces in photos.

    Writes for every face NAME.safetensors (latent, noise, crop, metrics; what `edit` and `mix` take), NAME.png (what
    the latent renders to), NAME-target.png (the crop it was made of), and NAME-projected_w.npz (for other tools).
    """
    from latentedit.inversion import InversionConfig
    from latentedit.inversion.api import invert_portraits
    from latentedit.inversion.methods.table import find_method
    from latentedit.models import load_model

    loaded = load_model(model, device=device)
    chosen = find_method(method, loaded)
    config = InversionConfig(steps=steps, refine=refine)
    total = chosen.plan(config).total
    if save_video:
        if not total:
            raise click.UsageError(
                "--save-video films the descent, and there is none. Add --steps, or another --method."
            )
        config = InversionConfig(
            steps=config.steps, refine=config.refine, image_every=max(1, round(total / _VIDEO_FRAMES))
        )
    wanted = None if aligned else face
    sources = list(_sources(photos, loaded, wanted, max_pixels))
    reserve = Names(outdir, photos)
    names = [reserve.take(source.name, (*_ENDINGS, ".mp4") if save_video else _ENDINGS) for source in sources]
    films: list[list[Image.Image]] = [[] for _ in sources]
    with progress("Inverting", total=len(sources) * max(total, 1)) as bar:

        def follow(event: Progress) -> None:
            bar.update(event.completed, note=_note(event))
            _film(event, films, sources)

        results = invert_portraits(
            sources, model=loaded, method=chosen, config=config, seed=seed, callback=follow if total else None
        )
        for index, (name, inversion) in enumerate(zip(names, results, strict=True)):
            _write(inversion, outdir, name, embed_photo or None)
            if save_video:
                _write_film([*films[index], _pair(inversion.target, inversion.image)], outdir / f"{name}.mp4")
                films[index].clear()
            bar.update((index + 1) * max(total, 1))
            click.echo(_report(inversion, outdir / f"{name}.safetensors"))


def _sources(photos: Sequence[Path], model: Model, face: int | str | None, max_pixels: int) -> Iterator[Portrait]:
    """The faces of all photos; a photo that has a file is not kept in memory."""
    from latentedit.images import open_photo
    from latentedit.inversion.photos import gather

    with progress("Finding faces", total=len(photos)) as bar:
        for photo in photos:
            for source in gather(open_photo(photo, max_pixels=max_pixels), model=model, face=face):
                aligned = None if source.aligned is None else replace(source.aligned, photo=None)
                yield replace(source, aligned=aligned)
            bar.advance()


def _note(event: Progress) -> str:
    return " ".join(f"{name} {float(value.mean()):.4f}" for name, value in event.losses.items())


def _film(event: Progress, films: list[list[Image.Image]], sources: list[Portrait]) -> None:
    if event.images is None:
        return
    from latentedit.images import to_pil

    for row, image in zip(event.rows, to_pil(event.images), strict=True):
        films[row].append(_pair(sources[row].crop, image))


def _pair(left: Image.Image, right: Image.Image) -> Image.Image:
    from PIL import Image

    pair = Image.new("RGB", (left.width + right.width, left.height))
    pair.paste(left, (0, 0))
    pair.paste(right, (left.width, 0))
    return pair


def _write(inversion: Inversion, outdir: Path, name: str, embed_photo: bool | None) -> None:
    from latentedit.images import save_image

    for image, path in ((inversion.image, f"{name}.png"), (inversion.target, f"{name}-target.png")):
        save_image(image, outdir / path)
    inversion.save(outdir / f"{name}-projected_w.npz")
    inversion.save(outdir / f"{name}.safetensors", embed_photo=embed_photo)


def _write_film(frames: list[Any], path: Path) -> None:
    from latentedit.media import save_mp4

    save_mp4(frames, path, _VIDEO_FPS, size=2 * max(_VIDEO_SIDE, frames[0].height))


def _report(inversion: Inversion, path: Path) -> str:
    figures = ", ".join(f"{name} {value:.4f}" for name, value in inversion.metrics.items())
    return f"{path}: {figures} ({inversion.settings['steps_taken']} steps)"
