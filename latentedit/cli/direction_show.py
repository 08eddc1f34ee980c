"""``latentedit-direction show``: what a direction file says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from latentedit.cli._common import Command, model_option


@click.command(cls=Command)
@click.argument("direction", metavar="NAME|FILE")
@model_option
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def command(direction: str, model: str | None, as_json: bool) -> None:
    """Show what is known of a direction: units, accuracy, calibration, entanglement, how it was fitted."""
    from dataclasses import asdict
    from pathlib import Path

    from latentedit.directions.direction import Direction, from_file

    is_file = direction.endswith(".safetensors") and Path(direction).is_file()
    found = from_file(direction) if is_file and model is None else Direction.load(direction, model)
    described = {key: value for key, value in vars(found).items() if key not in ("normal", "svm_normal", "calibration")}
    described["shape"] = list(found.normal.shape)
    described["calibration"] = asdict(found.calibration) if found.calibration else None
    if as_json:
        click.echo(json.dumps(described, indent=2, sort_keys=True))
        return
    click.echo(f"{found.name}: {found.unit}, generator {found.fingerprint or 'unknown'}")
    click.echo(f"  normal      {' x '.join(map(str, found.normal.shape))}, intercept {found.intercept:.4g}")
    click.echo(f"  layers      {'all' if found.layers is None else ', '.join(map(str, found.layers))}")
    if found.accuracy is not None:
        click.echo(f"  accuracy    {100 * found.accuracy:.1f} % of held-out samples")
    if found.calibration:
        low, high = found.calibration.limits
        click.echo(f"  reaches     {low:.3g} to {high:.3g}; {found.calibration.slope:.3g} per unit of distance")
    for title, values in (
        ("|cos|", found.cosines), ("leakage", found.metrics.get("leakage")), ("settings", found.settings),
    ):  # fmt: skip
        if isinstance(values, Mapping) and values:
            shown = ", ".join(f"{key} {_short(value)}" for key, value in values.items() if key != "procedure")
            click.echo(f"  {title:<11} {shown}")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "/".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
