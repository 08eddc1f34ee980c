"""``latentedit interpolate``: a film from face to face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from latentedit.cli._common import (
    Command,
    device_option,
    max_pixels_option,
    model_option,
    output_option,
    progress,
    seed_option,
)
from latentedit.cli._faces import (
    FACE_FILE,
    LATENT_FILES,
    method_option,
    open_faces,
    open_model,
    open_photos,
    steps_option,
)
from latentedit.cli._types import Finite, Seeds

FILMS = (".gif", ".webp", ".mp4", ".m4v", ".mov", ".png", "")


@click.command(cls=Command)
@click.argument("faces", nargs=-1, type=FACE_FILE, metavar="[FACE]...")
@click.option("--seeds", type=Seeds(), metavar="SEEDS", help="Faces made from seeds, after those given: 0-9,17.")
@click.option("--frames", type=click.IntRange(min=2), default=90, show_default=True, help="Frames of the whole film.")
@click.option("--fps", type=Finite(0.01, 240), default=30.0, show_default=True, metavar="NUMBER",
              help="Frames a second.")  # fmt: skip
@click.option("--loop/--once", default=True, show_default=True, help="Come back to the first face, and repeat.")
@click.option("--space", type=click.Choice(["w", "z"]), default="w", show_default=True,
              help="w: between latents; z: before the mapping network (seeds only).")  # fmt: skip
@click.option("--curve", type=click.Choice(["linear", "slerp", "cubic"]),
              help="The way between faces.  [default: linear in w, slerp in z]")  # fmt: skip
@click.option("--easing", type=click.Choice(["linear", "smooth", "smoother", "cosine", "in", "out"]),
              help="How the film slows down at each face.  [default: smooth; linear with --curve cubic]")  # fmt: skip
@click.option("--trunc", type=Finite(-2, 2), default=0.7, show_default=True, metavar="NUMBER",
              help="Truncation of faces made from seeds.")  # fmt: skip
@click.option("--class", "label", type=click.IntRange(min=0), help="Class of faces made from seeds.")
@click.option("--size", type=click.IntRange(16, 4096), help="Width in pixels.  [default: 256, or the model's]")
@method_option
@steps_option
@seed_option
@model_option
@device_option
@max_pixels_option
@output_option("morph.gif", "A .gif, .webp or .mp4, a .png for numbered frames, or a folder.")
def command(
    faces: tuple[Path, ...],
    seeds: list[int] | None,
    frames: int,
    fps: float,
    loop: bool,
    space: str,
    curve: str | None,
    easing: str | None,
    trunc: float,
    label: int | None,
    size: int | None,
    model: str | None,
    device: str,
    max_pixels: int,
    output: Path,
    **inversion: Any,
) -> None:
    """Film the way from face to face.

    FACEs are photos (their largest face), inversions (.safetensors), or files of latents (.npz, .npy, .pt), one or
    several in a file.
    """
    from latentedit.editing import interpolate

    seeds = seeds or []
    if len(faces) + len(seeds) < 2 and not any(path.suffix.lower() in LATENT_FILES for path in faces):
        raise click.UsageError("A film needs at least two faces: give photos, inversions, or --seeds.")
    if space == "z" and faces:
        raise click.UsageError("--space z works on --seeds alone: photos have no z.")
    if output.suffix.lower() not in FILMS:
        raise click.UsageError(
            f"No kind of film ends in {output.suffix!r} ({str(output)!r}). Use .gif, .webp, .mp4, .png, or a folder."
        )
    if output in faces:
        raise click.UsageError(f"-o {output} is one of the faces; give it another name.")
    loaded = open_model(model, device)
    photos = open_photos(faces, max_pixels)
    found = [face for group in open_faces(faces, loaded, photos=photos, **inversion) for face in group]
    film = interpolate(
        [*found, *seeds], frames=frames, loop=loop, space=space, curve=curve, easing=easing,  # pyright: ignore[reportArgumentType]
        truncation_psi=trunc, label=label, model=loaded,
    )  # fmt: skip
    with progress("Rendering", total=frames) as bar:
        film.save(output, fps=fps, size=size or max(256, loaded.resolution), advance=bar.advance)
    click.echo(str(output))
