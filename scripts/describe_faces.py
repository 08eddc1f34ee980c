"""Compute dlib's face descriptors of prepared crops, which the identity head of the perception network learns from.

    python scripts/describe_faces.py prepared

Writes ``prepared/teacher/identity-<shard>.npy``. Shards that have descriptors are left alone, so that an interrupted
run goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from latentedit.errors import LatentEditError
from latentedit.training.face_teacher import DlibFaceNetwork, describe_prepared


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.argument("prepared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--precision", default="bfloat16", type=click.Choice(["bfloat16", "float32"]), show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(prepared: Path, precision: str, device: str) -> None:
    try:
        network = DlibFaceNetwork(dtype=getattr(torch, precision)).to(device)
        for shard, count in describe_prepared(prepared, network):
            click.echo(f"{shard}: {count}")
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
