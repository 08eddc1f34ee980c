"""`latentedit verify`: whether two photos show the same person."""

from __future__ import annotations

import json
from pathlib import Path

import click

from latentedit.cli._common import PHOTO, Command, device_option, max_pixels_option, model_option
from latentedit.cli._types import Finite


@click.command(cls=Command)
@click.argument("first", type=PHOTO, metavar="A")
@click.argument("second", type=PHOTO, metavar="B")
@click.option(
    "--rate", type=Finite(0.001, 0.1), metavar="NUMBER", default=0.01, show_default=True,
    help="Accepted share of different persons that pass for the same (false-accept rate).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@model_option
@device_option
@max_pixels_option
def command(
    first: Path, second: Path, rate: float, as_json: bool, model: str | None, device: str, max_pixels: int
) -> None:
    """Say whether the largest faces of A and B are the same person's.

    The distance is scaled so that 0.6 separates same from different persons best. The verdict is stricter: it says
    "same" below the distance that only a share --rate of different persons reached in photos of persons whom the
    network never saw. The exit status is 0 whatever the verdict. Not fit for deciding anything about people.
    """
    from latentedit.cli._perceive import find_faces, load_perception, perceive

    network = load_perception(model, device)
    faces = [find_faces(network, photo, 1, max_pixels)[0] for photo in (first, second)]
    a, b = (perceive(network, [face]) for face in faces)
    distance = float(network.identity_distance(a, b)[0])
    limit = network.accept_distance(rate)
    same = distance < limit
    if as_json:
        result = {"distance": round(distance, 4), "same": same, "threshold": round(limit, 4), "false_accept_rate": rate}
        click.echo(json.dumps(result, indent=2))
        return
    verdict = "same person" if same else "not shown to be the same person"
    click.echo(f"distance {distance:.3f}, threshold {limit:.3f} at a false-accept rate of {100 * rate:g} %: {verdict}")
