"""``latentedit edit``: a photo with changed attributes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._attributes import Assignment, AttributeCommand, once_each
from latentedit.cli._common import (
    device_option,
    face_option,
    max_pixels_option,
    model_option,
    output_option,
    quality_option,
    seed_option,
)
from latentedit.cli._faces import (
    FACE_FILE,
    has_photo,
    is_latent,
    method_option,
    open_faces,
    open_model,
    open_photos,
    original_of,
    steps_option,
    write_json,
)
from latentedit.cli._outputs import check_distinct, check_picture, numbered, picture_path, usage

if TYPE_CHECKING:
    from latentedit.editing import Edit


@click.command(cls=AttributeCommand, options_metavar="[--ATTRIBUTE NUMBER]... [OPTIONS]")
@click.argument("photo", type=FACE_FILE)
@click.option("--set", "attributes", type=Assignment(), multiple=True, hidden=True)
@click.option(
    "--distance", "distances", type=Assignment(), multiple=True, metavar="NAME=NUMBER",
    help="Move by a raw distance along the direction instead; may be repeated.",
)  # fmt: skip
@click.option("--layers", metavar="LAYERS", help="Act on these only: coarse, middle, fine, or 0-3,8.")
@click.option(
    "--detail", type=click.Choice(["transfer", "render"]), default="transfer", show_default=True,
    help="transfer: add the change to the photo, which keeps its detail; render: paste the generator's picture.",
)  # fmt: skip
@click.option("--crop", is_flag=True, help="Write the edited face alone instead of the photo.")
@click.option("--photo", "into", type=FACE_FILE, help="Paste into this photo, where an inversion has lost its own.")
@click.option("--no-verify", is_flag=True, help="Trust the calibration: do not measure each face and correct.")
@click.option("--metrics", type=click.Path(dir_okay=False, path_type=Path), help="Write what was measured, as JSON.")
@face_option
@method_option
@steps_option
@seed_option
@model_option
@device_option
@quality_option
@max_pixels_option
@output_option("edited.png", "The picture to write; its suffix says which kind. Or a folder.")
def command(
    photo: Path,
    attributes: tuple[tuple[str, float], ...],
    distances: tuple[tuple[str, float], ...],
    layers: str | None,
    into: Path | None,
    crop: bool,
    metrics: Path | None,
    output: Path,
    model: str | None,
    device: str,
    no_verify: bool,
    detail: str,
    quality: int | str | None,
    max_pixels: int,
    **inversion: Any,
) -> None:
    """Change age, smile and more in a photo, and put the face back.

    PHOTO is a photo, an inversion (.safetensors, as `latentedit invert` writes it), or latents (.npz). Any attribute
    of the model is an option: years and degrees are changes (--age +15, --yaw -10), scores between 0 and 1 are to be
    reached (--smile 0.9). `latentedit-direction list` names the attributes. The photo keeps its colour space, depth,
    transparency, profile and EXIF where the kind of picture that is written holds them.
    """
    from latentedit.editing import edit
    from latentedit.editing.targets import read_requests
    from latentedit.images import save_image, save_photo
    from latentedit.latents import layer_indices

    asked: dict[str, Any] = once_each(attributes)
    moved: dict[str, Any] = once_each(distances)
    if not asked and not moved:
        raise click.UsageError("Nothing to change: give an attribute, such as --age +15 or --smile 0.9.")
    target = picture_path(output, photo)
    check_picture(target, quality)
    check_distinct({"-o": target, "--metrics": metrics}, [photo, *([into] if into else [])])
    loaded = open_model(model, device)
    with usage():  # an unknown name must not wait for the inversion
        read_requests(loaded, asked, moved)
        if layers is not None:
            layer_indices(layers, loaded.generator.synthesis.layer_resolutions)
    photos = open_photos([photo, *([into] if into else [])], max_pixels)
    (faces,) = open_faces([photo], loaded, photos=photos, **inversion)
    edited = edit(faces, model=loaded, layers=layers, distance=moved, verify=False if no_verify else None, **asked)
    if crop or not all(has_photo(face) for face in faces):
        if not crop and not is_latent(photo):
            raise click.UsageError(f"{photo} has no photo to paste into; use --crop.")
        targets = numbered(target, len(edited))
        check_distinct({str(path): path for path in targets} | {"--metrics": metrics}, [photo])
        for image, path in zip(edited.images, targets, strict=True):
            save_image(image, path, quality=quality)  # pyright: ignore[reportArgumentType]
    else:
        targets = [target]
        original = photos[into or photo] if into or photo in photos else original_of(faces[0], max_pixels)
        pasted = edited.paste_back(photo=original, detail=detail)  # pyright: ignore[reportArgumentType]
        save_photo(pasted, target, like=original, quality=quality)  # pyright: ignore[reportArgumentType]
    _report(edited, targets, metrics)


_SPREAD = {"age": 10.0, "yaw": 10.0, "pitch": 10.0, "roll": 10.0}  # changes that are worth a whole probability


def _report(edited: Edit, targets: list[Path], metrics: Path | None) -> None:
    if edited.subject.model.perception is None:
        if metrics is not None:
            _ = edited.all_metrics  # says what is missing
        click.echo("\n".join(str(path) for path in targets))
        return
    measured = edited.all_metrics
    if metrics is not None:
        write_json({"faces": measured}, metrics)
    for number, values in enumerate(measured, start=1):
        who = f"face {number}: " if len(measured) > 1 else ""
        click.echo(who + _line(values))
    click.echo("\n".join(str(path) for path in targets))


def _line(values: dict[str, Any]) -> str:
    """What was asked for, who it still is, and the three largest changes that nobody asked for."""
    parts = []
    for name, asked in values["asked"].items():
        if "after" in asked:
            digits = 2 if asked["unit"] == "probability" else 1
            parts.append(f"{name} {asked['before']:.{digits}f} -> {asked['after']:.{digits}f}")
        else:
            parts.append(f"{name} moved by {asked['distance']:.2f}")
    parts.append(f"identity distance {values['identity_distance']:.2f}")
    others = {name: change for name, change in values["others"].items() if abs(change) >= 0.1}
    largest = sorted(others, key=lambda name: -abs(others[name]) / _SPREAD.get(name, 1.0))
    if largest:
        parts.append("also " + ", ".join(f"{name} {others[name]:+.2f}" for name in largest[:3]))
    return ", ".join(parts)
