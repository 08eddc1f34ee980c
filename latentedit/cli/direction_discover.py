"""``latentedit-direction discover``: directions that nobody labelled, with what they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, device_option, model_option, outdir_option, progress, seed_option
from latentedit.cli._directions import put

if TYPE_CHECKING:
    from latentedit.directions import Direction, DiscoverConfig
    from latentedit.directions.fitting.probe import Probe
    from latentedit.directions.found import Found
    from latentedit.models import Model

LIST = "discovered.json"
STOPS = range(-3, 4)
"""Columns of the sheet: half steps to either side."""


@click.command(cls=Command)
@click.option(
    "--method", "methods", type=click.Choice(["sefa", "pca", "channels", "all"]), multiple=True, default=("all",),
    show_default=True, help="SeFa, principal components of W (GANSpace), or single style channels (StyleSpace).",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1, 200), default=12, show_default=True, help="Directions by each method.")
@click.option("--layers", metavar="LAYERS", help="Act on these only: coarse, middle, fine, or 0-3,8.")
@click.option("--faces", type=click.IntRange(1, 64), default=4, show_default=True, help="Faces that are looked at.")
@click.option("--shown", type=click.IntRange(1, 8), default=1, show_default=True, help="Rows of the sheet for each.")
@click.option(
    "--save", "saved", type=(int, str), multiple=True, metavar="N NAME",
    help="Keep number N as the model's direction NAME, in units where an attribute changes; may be repeated.",
)  # fmt: skip
@click.option(
    "--attr",
    metavar="NAME",
    help="Attribute that the saved direction is measured in.  [default: the one that changes most]",
)
@click.option("--probes", type=click.IntRange(min=2), default=48, show_default=True, help="Latents that measure it.")
@model_option
@device_option
@seed_option
@outdir_option("discovered")
def command(
    methods: tuple[str, ...], saved: tuple[tuple[int, str], ...], outdir: Path, model: str | None, device: str,
    attr: str | None, probes: int, shown: int, **options: Any,
) -> None:  # fmt: skip
    """Find directions without labels, say what each changes, and show them on a contact sheet.

    Writes a file for each direction, discovered.json and sheet.png, -3 to +3 half steps of each. Give the numbers of
    those that you want with --save; what lies in the folder is not looked for again.
    """
    from latentedit.directions import DiscoverConfig
    from latentedit.directions.discover import METHODS
    from latentedit.directions.fitting.probe import Probe
    from latentedit.directions.store import check_name
    from latentedit.models import load_model

    for _, name in saved:
        check_name(name)
    chosen = METHODS if "all" in methods else tuple(dict.fromkeys(methods))
    config = DiscoverConfig(methods=chosen, **options)
    owner = load_model(model, device=device)
    with progress("looking") as bar:
        probe = Probe(owner.generator, owner.require("perception"), progress=bar.advance)
        entries = _kept(outdir, owner, config)
        if entries is None:
            entries = _look(probe, owner, config, outdir, shown)
        _check_numbers(saved, len(entries))
        for number, name in saved:
            _save(probe, owner, entries[number - 1], outdir, name, attr, probes)


def _settings(owner: Model, config: DiscoverConfig) -> dict[str, Any]:
    from dataclasses import asdict

    return {"fingerprint": owner.fingerprint, **json.loads(json.dumps(asdict(config)))}


def _kept(outdir: Path, owner: Model, config: DiscoverConfig) -> list[dict[str, Any]] | None:
    """What an earlier run with the same settings found."""
    try:
        found = json.loads((outdir / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and found.get("settings") == _settings(owner, config)
    return (
        found["directions"] if same and all((outdir / one["file"]).is_file() for one in found["directions"]) else None
    )


def _look(probe: Probe, owner: Model, config: DiscoverConfig, outdir: Path, shown: int) -> list[dict[str, Any]]:
    from latentedit.directions.discover import discover_directions
    from latentedit.directions.found import describe_found
    from latentedit.faces.regions import face_regions
    from latentedit.files import atomic_path

    regions = face_regions(probe.resolution, owner.template)
    results = discover_directions(probe, config, regions=regions, report=lambda text: click.echo(text, err=True))
    entries = []
    for number, found in enumerate(results, start=1):
        file = f"{number:02d}-{found.direction.name}.safetensors"
        found.direction.save(outdir / file)
        entries.append({"number": number, "file": file, **found.to_dict()})
        click.echo(f"{number:>3} {found.method:<8} {found.direction.name}: {describe_found(found, probe.units)}")
    _write_sheet(probe, config, results, outdir / "sheet.png", shown)
    with atomic_path(outdir / LIST) as temporary:  # last: a folder with it is whole
        text = json.dumps({"settings": _settings(owner, config), "directions": entries}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    click.echo(f"wrote {outdir / 'sheet.png'}")
    return entries


def _write_sheet(probe: Probe, config: DiscoverConfig, results: list[Found], path: Path, shown: int) -> None:
    from latentedit.directions.discover import face_ws
    from latentedit.images import save_image, to_pil
    from latentedit.media import contact_sheet

    faces = face_ws(probe, config)[:shown]
    rows, labels = [], []
    for number, found in enumerate(results, start=1):
        for index, ws in enumerate(faces.split(1)):
            moved = [ws + found.direction.displacement(ws, stop / 2 * found.step) for stop in STOPS]
            rows.append([picture for one in moved for picture in to_pil(probe.images(one))])
            labels.append(f"{number} {found.direction.name}" if index == 0 else "")
    columns = [f"{stop:+d}" if stop else "0" for stop in STOPS]
    save_image(contact_sheet(rows, rows=labels, columns=columns, cell=min(probe.resolution, 160)), path)


def _check_numbers(saved: tuple[tuple[int, str], ...], count: int) -> None:
    for number, _ in saved:
        if not 1 <= number <= count:
            raise click.UsageError(f"--save {number}: there are numbers from 1 to {count}.")


def _save(
    probe: Probe, owner: Model, entry: dict[str, Any], outdir: Path, name: str, attr: str | None, probes: int
) -> None:
    from latentedit.directions import Direction
    from latentedit.directions.fitting.given import calibrate_given
    from latentedit.errors import DirectionError

    direction: Direction = Direction.load(outdir / entry["file"], owner).with_(name=name)
    telling = attr or next((effect for effect, _ in entry["effects"]), None)
    said = "moved by --distance"
    if telling is not None:
        try:
            direction = calibrate_given(probe, direction, telling, probes=probes)
            said = f"in {direction.unit} of {telling}"
        except DirectionError as error:
            if attr is not None:
                raise
            said += f": {error.problem}"
    for path in put({name: direction}, None, owner).values():
        click.echo(f"wrote {path} ({said})")
