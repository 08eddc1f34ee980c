"""``latentedit-direction list``: the directions of a model, one line each."""

from __future__ import annotations

import click

from latentedit.cli._common import Command, model_option


@click.command(cls=Command)
@model_option
def command(model: str | None) -> None:
    """List the directions of a model: name, unit, accuracy, measured range, layers, where it comes from."""
    from latentedit.directions.direction import from_file
    from latentedit.directions.store import list_directions
    from latentedit.errors import LatentEditError
    from latentedit.models import load_model

    owner = load_model(model)
    known = list_directions(owner)
    if not known:
        click.echo(f"{owner.name} has no directions. Fit some with `latentedit-direction fit --attr all`.")
        return
    rows = [("name", "unit", "accuracy", "range", "layers", "origin")]
    for name, path in known.items():
        try:
            direction = from_file(path)
            direction.check(owner.fingerprint, owner.mapping_fingerprint)
        except LatentEditError as error:
            rows.append((name, "unusable:", error.problem, "", "", ""))
            continue
        accuracy = "" if direction.accuracy is None else f"{100 * direction.accuracy:.1f} %"
        layers = "all" if direction.layers is None else ",".join(map(str, direction.layers))
        scores = direction.calibration.scores if direction.calibration else None
        reached = f"{scores[0]:.3g} to {scores[-1]:.3g}" if scores else "not calibrated"
        origin = "yours" if path.parent == owner.user_directions else "model"
        rows.append((name, direction.unit, accuracy, reached, layers, origin))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
