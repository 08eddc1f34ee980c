"""Measure a model's encoder on held-out photos: likeness, LPIPS, squared error, time.

    python scripts/evaluate_encoder.py MODEL prepared --count 200

``prepared`` is the folder of ``scripts/prepare_faces.py``, cut by the model's own crop. With ``--encoder FILE`` another
encoder than the model's is measured. ``--sheet FILE`` writes photos beside their inversions: they show people, so keep
them out of anything that is published.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import torch
from _common import save_grid

from latentedit.errors import LatentEditError
from latentedit.evaluation.encoder import choose, judge_encoder, summary
from latentedit.models import load_model
from latentedit.models.network_file import load_network
from latentedit.training.encoding.photos import Photos


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.argument("prepared", type=click.Path(file_okay=False, path_type=Path))
@click.option("--count", default=200, show_default=True, help="Photos, each of another person.")
@click.option("--datasets", default="lfw", show_default=True, help="Names of data sets, by commas.")
@click.option("--encoder", type=click.Path(dir_okay=False, path_type=Path), help="Measure the encoder in this file.")
@click.option("--feedback", default=0, show_default=True, help="Passes of feedback.")
@click.option("--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Write the first 30 pairs here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
def main(
    model: str,
    prepared: Path,
    count: int,
    datasets: str,
    encoder: Path | None,
    feedback: int,
    sheet: Path | None,
    as_json: bool,
    threads: int | None,
) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        loaded = load_model(model)
        if encoder is not None:
            loaded = replace(loaded, encoder=load_network(encoder, kind="encoder"))
        photos = Photos(prepared, split="held", datasets=datasets.split(","))
        found, pictures = [], []
        for judged in judge_encoder(loaded, photos, choose(photos, count), feedback=feedback):
            found.append(judged.figures)
            if len(pictures) < 30:
                pictures.append(torch.cat([judged.photo, judged.found], dim=3))
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error
    figures = summary(found)
    if sheet is not None:
        both = torch.cat(pictures)
        save_grid(sheet, torch.cat(both.split(256, dim=3), dim=1).reshape(-1, 3, 256, 256), 10)
    click.echo(json.dumps({"photos": len(found), **figures}) if as_json else _table(len(found), figures))


def _table(count: int, figures: dict[str, float]) -> str:
    lines = [f"{count} photos"] + [f"{name:>16}  {value:.4f}" for name, value in figures.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
