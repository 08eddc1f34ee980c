"""``latentedit edit``: a photo with changed attributes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, device_option, face_option, model_option, output_option, seed_option
from latentedit.cli._faces import (
    FACE_FILE,
    check_picture,
    has_photo,
    is_latent,
    method_option,
    numbered,
    open_faces,
    open_model,
    steps_option,
    write_json,
)

if TYPE_CHECKING:
    from latentedit.editing import Edit


class AttributeCommand(Command):
    """Reads ``--NAME NUMBER`` of any attribute, since which there are depends on the model."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {"-h": False, "--help": False}
        for param in self.params:
            flag = isinstance(param, click.Option) and (param.is_flag or param.count)
            takes_value |= dict.fromkeys((*param.opts, *param.secondary_opts), not flag)
        return super().parse_args(ctx, rewritten(args, takes_value))


def rewritten(args: list[str], takes_value: dict[str, bool]) -> list[str]:
    """``--age +15`` and ``--age=+15`` as ``--set age=+15`` where ``--age`` is no option of the command itself.

    ``takes_value`` says of every option of the command whether the next argument belongs to it.
    """
    rest, waiting = [], list(args)
    while waiting:
        arg = waiting.pop(0)
        name, equals, value = arg.partition("=")
        if arg == "--":
            return [*rest, arg, *waiting]
        if not arg.startswith("--") or name in takes_value:
            rest.append(arg)
            if takes_value.get(name) and not equals and waiting:
                rest.append(waiting.pop(0))
            continue
        if not equals:
            value = waiting.pop(0) if waiting else ""
        if not _is_number(value):
            raise click.UsageError(f"No such option: {name}. If it is an attribute, give it a number: {name} 0.8.")
        rest += ["--set", f"{name.removeprefix('--')}={value}"]
    return rest


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Assignment(click.ParamType):
    """``NAME=NUMBER``."""

    name = "name=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        if not name or not _is_number(number):
            self.fail(f"{value!r} is not of the form NAME=NUMBER, such as smile=2.", param, ctx)
        return name, float(number)


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
@output_option("edited.png", "The picture to write; its suffix says which kind.")
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
    **inversion: Any,
) -> None:
    """Change age, smile and more in a photo, and put the face back.

    PHOTO is a photo, an inversion (.safetensors, as `latentedit invert` writes it), or latents (.npz). Any attribute
    of the model is an option: years and degrees are changes (--age +15, --yaw -10), scores between 0 and 1 are to be
    reached (--smile 0.9). `latentedit-direction list` names the attributes.
    """
    from latentedit.editing import edit
    from latentedit.editing.targets import read_requests
    from latentedit.latents import layer_indices

    if not attributes and not distances:
        raise click.UsageError("Nothing to change: give an attribute, such as --age +15 or --smile 0.9.")
    check_picture(output)
    loaded = open_model(model, device)
    asked: dict[str, Any] = dict(attributes)
    moved: dict[str, Any] = dict(distances)
    read_requests(loaded, asked, moved)  # an unknown name must not wait for the inversion
    if layers is not None:
        layer_indices(layers, loaded.generator.synthesis.layer_resolutions)
    (faces,) = open_faces([photo], loaded, **inversion)
    edited = edit(faces, model=loaded, layers=layers, distance=moved, verify=False if no_verify else None, **asked)
    from latentedit.images import save_image

    if crop or not all(has_photo(face) for face in faces):
        if not crop and not is_latent(photo):
            raise click.UsageError(f"{photo} has no photo to paste into; use --crop.")
        for image, path in zip(edited.images, targets := numbered(output, len(edited)), strict=True):
            save_image(image, path)
    else:
        targets = [output]
        save_image(edited.paste_back(photo=into, detail=detail), output)  # pyright: ignore[reportArgumentType]
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
