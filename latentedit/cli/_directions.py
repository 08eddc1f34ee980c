"""What the commands that make directions share: where they are put, and what that hides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from latentedit.directions import Direction
    from latentedit.models import Model


def check_output(output: Path | None, names: list[str]) -> None:
    """Refuse one file for several directions."""
    if output is not None and output.suffix == ".safetensors" and len(names) > 1:
        raise click.UsageError(
            f"-o {output} is one file for {len(names)} directions ({', '.join(names)}); give a folder."
        )


def put(directions: Mapping[str, Direction], output: Path | None, owner: Model) -> dict[str, Path]:
    """Write ``directions`` to ``output`` (a file or a folder), or where edits with ``owner`` find them; say on stderr
    which others that hides or replaces."""
    from latentedit.directions.direction import made_for, save_directions

    if output is not None and output.suffix == ".safetensors":
        return {name: made_for(direction, owner).save(output) for name, direction in directions.items()}
    if output is not None:
        return save_directions(directions, output, model=owner)
    for notice in _notices(list(directions), owner):
        click.echo(f"Note: {notice}", err=True)
    return save_directions(directions, owner.user_directions, model=owner)


def _notices(names: list[str], owner: Model) -> list[str]:
    from latentedit.attributes import find
    from latentedit.directions.store import listed_directions

    known = listed_directions(owner)
    notices = []
    for name in names:
        found = find(name, known)
        if found is None:
            continue
        other = known[found]
        if other.yours and found == name:
            notices.append(f"{name!r} replaces your earlier direction of that name.")
        if not other.yours or other.shadows is not None:
            notices.append(
                f"{name!r} hides the model's own {found!r} from every later edit; `latentedit-direction remove {name}` "
                "brings it back."
            )
    return notices
