"""Measure a model's small heads against its full render: decibels, dlib's distance, grid, time.

    python scripts/evaluate_heads.py ffhq --count 200

``--heads FILE`` measures other heads than the model's; ``--sheet FILE`` writes full renders above the heads' pictures.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from _common import save_grid

from latentedit.errors import LatentEditError
from latentedit.evaluation.heads import judge_heads, summary
from latentedit.images import resize
from latentedit.models import load_generator
from latentedit.models.network_file import load_network
from latentedit.networks.mobilestylegan import MobileSynthesis
from latentedit.networks.small_heads import SmallHeads


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("--count", default=200, show_default=True, help="Samples.")
@click.option("--psi", default=0.8, show_default=True, help="Truncation.")
@click.option("--heads", type=click.Path(dir_okay=False, path_type=Path), help="Measure the heads in this file.")
@click.option("--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Write the first ten samples here.")
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
def main(model: str, count: int, psi: float, heads: Path | None, sheet: Path | None, threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        generator = load_generator(model)
        if heads is not None:
            network = load_network(heads, kind="heads")
            assert isinstance(network, SmallHeads)
            assert isinstance(generator.synthesis, MobileSynthesis)
            generator.synthesis.heads = network
        if not generator.synthesis.preview_resolutions:
            raise click.ClickException(f"{model!r} has no heads.")
        pictures = list(judge_heads(generator, count, psi=psi))
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error
    for side, figures in summary(pictures).items():
        click.echo(f"{side:4d} px  " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items()))
    if sheet is not None:
        rows = []
        for side in sorted({picture.side for picture in pictures}):
            own = [picture for picture in pictures if picture.side == side][:10]
            rows += [resize(p.wanted, 256) for p in own] + [resize(p.found, 256) for p in own]
        save_grid(sheet, torch.cat(rows), min(count, 10))


if __name__ == "__main__":
    main()
