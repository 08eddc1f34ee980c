"""Train an encoder into W+ for a finished model, on prepared crops; photos with drawn masks teach it to see through.

    python scripts/train_small_encoder.py MODEL prepared -o RUN --images 100000

MODEL is a name or a model folder whose encoder, where it has one, is the start. The result is written back with
``--install FOLDER``, or stays in RUN to go on from. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch
from _common import of_class, perception_losses, report

from latentedit.errors import LatentEditError
from latentedit.models import load_model, save_model
from latentedit.networks import Encoder, Generator, PerceptionNetwork
from latentedit.training.data.crops import FaceCrops
from latentedit.training.encoder import EncoderTrainer, EncoderTrainingConfig
from latentedit.training.face_teacher import DlibFaceNetwork
from latentedit.training.generator.recipes import encoder_for
from latentedit.training.state import MetricsFile


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.argument("data", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "-o", "--outdir", required=True, type=click.Path(file_okay=False, path_type=Path), help="The run's folder."
)
@click.option("--images", default=100_000, show_default=True, help="Photos to see in all.")
@click.option("--batch", default=16, show_default=True)
@click.option("--fresh", is_flag=True, help="Start from random weights even where MODEL has an encoder.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
@click.option("--install", type=click.Path(file_okay=False, path_type=Path), help="Write the model with it here.")
def main(
    model: str,
    data: Path,
    outdir: Path,
    images: int,
    batch: int,
    fresh: bool,
    device: str,
    threads: int | None,
    install: Path | None,
) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        loaded = load_model(None if model == "faces64" else model, device=device)
        size = loaded.resolution
        generator = of_class(loaded.generator, Generator)
        encoder = None if fresh or loaded.encoder is None else of_class(loaded.encoder, Encoder)
        if encoder is None:
            encoder = Encoder(encoder_for(generator.config, blocks=1)).to(device)
            encoder.w_avg.copy_(generator.mapping.w_avg)
        settings = EncoderTrainingConfig(batch_size=batch)
        teacher = DlibFaceNetwork(dtype=torch.bfloat16).to(device)
        own = None if loaded.perception is None else of_class(loaded.perception, PerceptionNetwork)
        perceive = None if own is None else perception_losses(own, teacher)
        trainer = EncoderTrainer(encoder, generator, settings, perceive)
        path = outdir / "encoder.pt"
        if path.exists():
            trainer.load(path)
        faces = FaceCrops(data, size)
        steps = trainer.run(faces, images, path=path)
        progress = ((trainer.step * batch, {k: float(v) for k, v in losses.items()}) for losses in steps)
        report(progress, MetricsFile(outdir / "encoder.jsonl"))
        if install is not None:
            save_model(install, replace(loaded, encoder=trainer.average.cpu()), dtype=torch.float16)
            click.echo(f"{install}: encoder trained on {trainer.step * batch} photos")
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
