"""Render samples of a generator with their latents: what encoders and small heads are trained on.

    python scripts/render_pairs.py MODEL -o pairs --shards 100

Each shard has 128 samples at truncations of 0.6 to 1: of every four, one with the later layers of another sample and
one moved along a direction. Shards that exist are kept, so that an interrupted run goes on where it stopped. What else
happens to pictures (masks, hands, blur, light) happens anew whenever one is drawn in training: one render is seen in
many states, where a stored one would be seen in one.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from latentedit.directions.direction import Direction
from latentedit.errors import LatentEditError
from latentedit.models import load_model
from latentedit.training.encoding.pairs import PairsConfig, add_landmarks, render_shards


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("-o", "--outdir", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--shards", default=100, show_default=True, help="How many there are to be in the end.")
@click.option("--size", type=int, help="Side of the pictures [256, or the model's if that is less].")
@click.option("--mixed", default=PairsConfig.mixed, show_default=True, help="Share with mixed layers.")
@click.option("--moved", default=PairsConfig.moved, show_default=True, help="Share moved along directions.")
@click.option("--landmarks", is_flag=True, help="Instead, find the faces of shards that lack landmarks.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
def main(
    model: str,
    outdir: Path,
    shards: int,
    size: int | None,
    mixed: float,
    moved: float,
    landmarks: bool,
    device: str,
    threads: int | None,
) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if landmarks:
            for name, faces in add_landmarks(outdir):
                click.echo(f"{name}: {faces} faces")
            return
        loaded = load_model(model, device=device)
        config = PairsConfig(size=size or min(256, loaded.resolution), mixed=mixed, moved=moved)
        paths = [path for folder in loaded.direction_folders for path in sorted(folder.glob("*.safetensors"))]
        axes = [Direction.load(path).normal.reshape(-1, loaded.generator.w_dim)[0] for path in paths]
        directions = torch.stack(axes) if axes else None
        for name, count in render_shards(loaded.generator, outdir, shards, config, directions=directions):
            click.echo(f"{name}: {count}")
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
