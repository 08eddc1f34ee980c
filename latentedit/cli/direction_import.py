"""``latentedit-direction import``: directions of other projects, for the generator that they were made for."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli._common import Command, device_option, progress


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model",
    required=True,
    metavar="NAME|FOLDER|CHECKPOINT",
    help="The generator that the file was made for; the file cannot tell.",
)
@device_option
@click.option("--name", help="What to call the direction, or which one of several to take.")
@click.option(
    "--attr",
    metavar="NAME",
    help="Attribute that it changes: its amounts are then measured in units.  "
    "[default: its name, where the perception network knows it]",
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
    file: Path, model: str, device: str, name: str | None, attr: str | None, probes: int, output: Path | None
) -> None:
    """Read directions from .npy, .npz, .pt or .safetensors FILE, of shape [w_dim], [1, w_dim], [layers, w_dim] or
    [1, layers, w_dim], one or many.

    A direction of a known attribute is calibrated by moving samples along it, so that its amounts have units; one that
    points the other way is turned.
    """
    from latentedit.directions.direction import save_directions
    from latentedit.directions.fitting.given import calibrate_given
    from latentedit.directions.fitting.probe import Probe
    from latentedit.directions.io.importing import import_directions
    from latentedit.directions.store import check_name
    from latentedit.models import load_model

    owner = load_model(model, device=device)
    found = import_directions(file, owner.generator, name=None if name is None else check_name(name))
    if attr is not None and len(found) > 1:
        raise click.UsageError(f"--attr is for one direction, but {file} holds {', '.join(found)}; choose with --name.")
    if output is not None and output.suffix == ".safetensors" and len(found) > 1:
        raise click.UsageError(f"-o {output} is one file for {len(found)} directions; give a folder.")
    if owner.perception is not None:
        with progress("measuring") as bar:
            probe = Probe(owner.generator, owner.perception, progress=bar.advance)
            found = {key: calibrate_given(probe, value, attr, probes=probes) for key, value in found.items()}
    if output is not None and output.suffix == ".safetensors":
        paths = {key: value.save(output) for key, value in found.items()}
    else:
        paths = save_directions(found, output or owner.user_directions, model=owner)
    for key, path in paths.items():
        calibrated = "calibrated in " + found[key].unit if found[key].calibration else "not calibrated"
        click.echo(f"wrote {path} ({calibrated})")
