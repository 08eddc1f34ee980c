"""``latentedit-direction remove``: delete directions that you fitted or imported."""

from __future__ import annotations

import click

from latentedit.cli._common import Command, model_option


@click.command(cls=Command)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@model_option
def command(names: tuple[str, ...], model: str | None) -> None:
    """Delete your own directions NAME... of a model.

    What came with the model stays, and counts again where yours hid it.
    """
    from latentedit.directions.store import remove_direction
    from latentedit.models import load_model

    owner = load_model(model)
    for name in names:
        gone = remove_direction(name, owner)
        back = "" if gone.shadows is None else f"; the model's own {gone.name!r} counts again"
        click.echo(f"removed {gone.path}{back}")
