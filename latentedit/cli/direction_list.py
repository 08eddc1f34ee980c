"""``latentedit-direction list``: the directions of a model, one line each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, model_option

if TYPE_CHECKING:
    from latentedit.directions import Direction
    from latentedit.directions.store import Listed


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@model_option
def command(model: str | None, as_json: bool) -> None:
    """List the directions of a model: name, unit, accuracy on held-out samples and the interval that it lies in (with
    95 % confidence), measured range, layers, whose it is, and how it was made.
    """
    from latentedit.directions.direction import from_file
    from latentedit.directions.store import listed_directions
    from latentedit.errors import LatentEditError
    from latentedit.models import load_model

    owner = load_model(model)
    known = listed_directions(owner)
    rows: list[tuple[str, ...]] = [("name", "unit", "accuracy", "range", "layers", "origin", "source")]
    described: list[dict[str, Any]] = []
    for name, found in known.items():
        try:
            direction = from_file(found.path)
            direction.check(owner.fingerprint, owner.mapping_fingerprint)
        except LatentEditError as error:
            rows.append((name, "unusable:", error.problem, "", "", "", ""))
            described.append({"name": name, "path": str(found.path), "problem": error.problem})
            continue
        rows.append(_row(found, direction))
        described.append(_described(found, direction))
    if as_json:
        click.echo(json.dumps({"model": owner.name, "directions": described}, indent=2))
    elif not known:
        click.echo(f"{owner.name} has no directions. Fit some with `latentedit-direction fit --attr all`.")
    else:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(found: Listed, direction: Direction) -> tuple[str, ...]:
    layers = "all" if direction.layers is None else ",".join(map(str, direction.layers))
    scores = direction.calibration.scores if direction.calibration else None
    reached = f"{scores[0]:.3g} to {scores[-1]:.3g}" if scores else "not calibrated"
    return found.name, direction.unit, accuracy_text(direction), reached, layers, _origin(found), made_by(direction)


def _origin(found: Listed) -> str:
    if not found.yours:
        return "model"
    return "yours" if found.shadows is None else "yours, hides the model's"


def accuracy_text(direction: Direction) -> str:
    """``95.0 % (92 to 97)``: the accuracy on held-out samples, and the interval that it lies in."""
    if direction.accuracy is None:
        return ""
    interval = direction.accuracy_interval
    between = "" if interval is None else f" ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"
    return f"{100 * direction.accuracy:.1f} %{between}"


def made_by(direction: Direction) -> str:
    """How a direction came to be, in a few words."""
    settings = direction.settings
    if "imported" in settings:
        return f"imported from {settings['imported']}"
    if "discovered" in settings:
        return f"discovered ({settings['discovered']})"
    return f"fitted on {settings['labelled']} latents" if "labelled" in settings else ""


def _described(found: Listed, direction: Direction) -> dict[str, Any]:
    return {
        "name": found.name,
        "path": str(found.path),
        "yours": found.yours,
        "shadows": None if found.shadows is None else str(found.shadows),
        "source": made_by(direction),
        "unit": direction.unit,
        "accuracy": direction.accuracy,
        "accuracy_interval": direction.accuracy_interval,
        "range": None if direction.calibration is None else list(direction.calibration.limits),
        "layers": None if direction.layers is None else list(direction.layers),
    }
