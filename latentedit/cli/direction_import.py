"""``latentedit-direction import``: directions of other projects, for the generator that they were made for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.attributes import mentioned
from latentedit.cli._common import Command, device_option, progress
from latentedit.cli._directions import check_output, put

if TYPE_CHECKING:
    from latentedit.directions import Direction


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model",
    required=True,
    metavar="NAME|FOLDER|CHECKPOINT",
    help="The generator that the file was made for; the file cannot tell.",
)
@device_option
@click.option(
    "--space", type=click.Choice(["auto", "z", "w", "w+"]), default="auto", show_default=True,
    help="Where the file's numbers live: told by name and norm, or as you say; z is carried over into W.",
)  # fmt: skip
@click.option(
    "--component", type=click.IntRange(min=0), metavar="K", help="Which of many in one array, from 0 on (GANSpace)."
)
@click.option("--name", help="What to call the direction, or which one of several to take.")
@click.option(
    "--attr",
    metavar="NAME",
    help="Attribute that it changes: its amounts are then measured in units.  [default: the one in its name]",
)
@click.option(
    "--probes",
    type=click.IntRange(min=2),
    default=48,
    show_default=True,
    help="Latents that are rendered to measure it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write NAME.safetensors into, or a file.  [default: where edits with this model find it]",
)
def command(
    file: Path, model: str, device: str, name: str | None, attr: str | None, probes: int, output: Path | None,
    space: Any, component: int | None,
) -> None:  # fmt: skip
    """Read directions from .npy, .npz, .pt or .safetensors FILE, of shape [w_dim], [1, w_dim], [layers, w_dim] or
    [1, layers, w_dim], one or many; GANSpace's components; InterFaceGAN's boundaries.

    It says what the file holds, by its keys, its name, norms and rows. A direction of a known attribute is calibrated
    by moving samples along it, so that its amounts have units; one that points the other way is turned.
    """
    from latentedit.directions.fitting.given import calibrate_given
    from latentedit.directions.fitting.probe import Probe
    from latentedit.directions.io.importing import import_directions
    from latentedit.directions.store import check_name
    from latentedit.models import load_model

    owner = load_model(model, device=device)
    found = import_directions(
        file, owner.generator, name=None if name is None else check_name(name), space=space, component=component
    )
    for key, value in found.items():
        click.echo(f"{key}: {_what(value)}")
    if attr is not None and len(found) > 1:
        raise click.UsageError(f"--attr is for one direction, but {file} holds {', '.join(found)}; choose with --name.")
    check_output(output, list(found))
    if owner.perception is not None:
        with progress("measuring") as bar:
            probe = Probe(owner.generator, owner.perception, progress=bar.advance)
            for key, value in found.items():
                found[key] = calibrate_given(probe, value, attr or mentioned(key), probes=probes)
    for key, path in put(found, output, owner).items():
        calibrated = "calibrated in " + found[key].unit if found[key].calibration else "not calibrated"
        click.echo(f"wrote {path} ({calibrated})")


def _what(direction: Direction) -> str:
    """What the file held, in words."""
    settings = direction.settings
    text = str(settings.get("kind", "a direction of latentedit"))
    if "norm" in settings:
        text += f", norm {settings['norm']:.4g}"
    if "agreement" in settings:
        text += f"; samples agree on its way in W by {settings['agreement']:.2f} of 1"
    return text
