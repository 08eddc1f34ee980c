"""Write the hashes of a bundled model anew, after a part of it was made: python scripts/update_manifest.py ffhq"""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.models.folder import write_manifest
from latentedit.models.loading import load_own_parts
from latentedit.models.locations import BUNDLED

ASSETS = Path(__file__).parents[1] / "latentedit" / "assets"


@click.command()
@click.argument("name", type=click.Choice(BUNDLED))
def main(name: str) -> None:
    """Rewrite ``model.json`` of the bundled model NAME."""
    write_manifest(ASSETS / name, load_own_parts(name))
    click.echo(f"wrote {ASSETS / name / 'model.json'}")


if __name__ == "__main__":
    main()
