"""Train small heads for a MobileStyleGAN: pictures of 64, 128 and 256 px from its inner features.

    python scripts/render_pairs.py MODEL -o pairs
    python scripts/train_heads.py MODEL pairs -o RUN --steps 50000

An interrupted run goes on where it stopped. ``--export FILE`` writes the heads as they are and trains nothing.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from _common import report, stop_gently

from latentedit.errors import LatentEditError, ModelError
from latentedit.models import load_generator
from latentedit.models.network_file import save_network
from latentedit.networks.mobilestylegan import MobileSynthesis
from latentedit.networks.small_heads import SmallHeads
from latentedit.training.encoding.heads import FeatureStore, HeadsTrainer, HeadsTrainingConfig
from latentedit.training.encoding.pairs import Pairs
from latentedit.training.state import MetricsFile


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.argument("pairs", type=click.Path(file_okay=False, path_type=Path))
@click.option("-o", "--outdir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Run's folder.")
@click.option("--sides", default="64,128,256", show_default=True, help="Pictures to make heads for.")
@click.option("--steps", default=50_000, show_default=True, help="Updates in all.")
@click.option("--batch", default=4, show_default=True, help="Parts of pictures a step and head.")
@click.option("--images", default=800, show_default=True, help="Pictures whose features are kept, 13 MB each.")
@click.option("--rate", default=HeadsTrainingConfig.learning_rate, show_default=True, help="Learning rate.")
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
@click.option("--export", type=click.Path(dir_okay=False, path_type=Path), help="Write the heads here instead.")
def main(
    model: str,
    pairs: Path,
    outdir: Path,
    sides: str,
    steps: int,
    batch: int,
    images: int,
    rate: float,
    threads: int | None,
    export: Path | None,
) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        generator = load_generator(model)
        synthesis = generator.synthesis
        if not isinstance(synthesis, MobileSynthesis):
            raise ModelError(f"{model!r} is no MobileStyleGAN.", "Other generators render small pictures themselves.")
        heads = SmallHeads.beside(synthesis, tuple(int(side) for side in sides.split(",")))
        trainer = HeadsTrainer(heads, synthesis, HeadsTrainingConfig(batch_size=batch, learning_rate=rate))
        path = outdir / "heads.pt"
        data = Pairs(pairs, num_ws=generator.num_ws)
        if path.exists():
            trainer.load(path)
        if export is not None:
            save_network(export, trainer.average, dtype=torch.float16)
            click.echo(f"{export}: heads after {trainer.step} steps")
            return
        if not path.exists():
            trainer.start(data)
            trainer.save(path)
        stop_gently()
        store = FeatureStore(outdir / "features", synthesis, data, heads.config.sides, images)
        progress = (
            (trainer.step, {"pictures": float(store.done), **{k: float(v) for k, v in figures.items()}})
            for figures in trainer.run(store, steps, path=path)
        )
        report(progress, MetricsFile(outdir / "heads.jsonl"), unit="steps")
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
