"""Train an encoder into W+ for any model, from its own samples and, where they are given, on photos.

    python scripts/render_pairs.py MODEL -o pairs
    python scripts/train_encoder.py MODEL pairs -o RUN                       # latents of samples (stage A)
    python scripts/train_encoder.py MODEL pairs -o RUN --photos prepared     # and pictures in the loop (stage B)
    python scripts/train_encoder.py MODEL pairs -o RUN --install FOLDER      # the model with it, for every command

The photos are prepared by ``scripts/prepare_faces.py`` with the model's own crop (``--size 256 --scale 1 --shift 0``
for FFHQ's). An interrupted run goes on where it stopped; ``--export FILE`` writes the encoder as it is and trains
nothing. An encoder that looks at small, tight crops alone is made by ``scripts/train_small_encoder.py``.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import click
import torch
from _common import report, stop_gently

from latentedit.errors import LatentEditError
from latentedit.models import Model, load_model, save_model
from latentedit.models.network_file import save_network
from latentedit.networks import fingerprint
from latentedit.networks.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from latentedit.training.encoding.compare import comparison
from latentedit.training.encoding.pairs import Pairs
from latentedit.training.encoding.photos import Photos
from latentedit.training.encoding.start import explained, fit_head, new_encoder, reduce_by_variance
from latentedit.training.encoding.trainer import STAGE_A, STAGE_B, EncoderTrainer, EncoderTrainingConfig
from latentedit.training.state import MetricsFile

Folder = click.Path(file_okay=False, path_type=Path)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.argument("pairs", type=Folder)
@click.option("-o", "--outdir", required=True, type=Folder, help="The run's folder.")
@click.option("--photos", type=Folder, help="Prepared crops: pictures come into the loop.")
@click.option("--pictures/--latents", default=None, help="Pictures in the loop or not [where there are photos].")
@click.option("--steps", default=100_000, show_default=True, help="Updates in all.")
@click.option("--batch", type=int, help="Pictures a step [16, with pictures in the loop 8].")
@click.option("--side", default=128, show_default=True, help="Side of the pictures in the loop.")
@click.option("--fit", default=4000, show_default=True, help="Pictures behind the closed form that it starts from.")
@click.option("--refit", is_flag=True, help="Solve the head anew on the trained features before going on.")
@click.option("--fresh", is_flag=True, help="Random weights instead of ImageNet's or the model's own encoder.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
@click.option("--export", type=click.Path(dir_okay=False, path_type=Path), help="Write the encoder here instead.")
@click.option("--install", type=Folder, help="Write the model with the encoder here instead.")
def main(model: str, pairs: Path, outdir: Path, threads: int | None, **options: object) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        _run(model, pairs, outdir, options)
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error


def _run(name: str, folder: Path, outdir: Path, options: dict) -> None:
    device = options["device"]
    loaded = load_model(name, device=device)
    samples = Pairs(folder, num_ws=loaded.generator.num_ws)
    held = Pairs(folder, num_ws=loaded.generator.num_ws, split="held")
    path = outdir / "encoder.pt"
    photos = None if options["photos"] is None else Photos(options["photos"])
    pictures = photos is not None if options["pictures"] is None else bool(options["pictures"])
    config = EncoderTrainingConfig(
        batch_size=options["batch"] or (8 if pictures else 16),
        side=options["side"],
        weights=dict(STAGE_B if pictures else STAGE_A),
    )
    encoder = _start(loaded, samples, held, options, resumed=path.exists())
    trainer = EncoderTrainer(encoder, loaded.generator, config, comparison(device=device) if pictures else None)
    if path.exists():
        trainer.load(path)
        if options["refit"]:
            encoder.load_state_dict(trainer.average.state_dict())
            _fit(encoder, samples, held, options["fit"])
            trainer.average.load_state_dict(encoder.state_dict())
    if options["export"] is not None or options["install"] is not None:
        _write(loaded, trainer, held, options)
        return
    trainer.save(path)
    steps = trainer.run(samples, photos, options["steps"], path=path)
    stop_gently()
    metrics = MetricsFile(outdir / "encoder.jsonl")
    report(_measured(steps, trainer, held, metrics), metrics)


def _start(loaded: Model, samples: Pairs, held: Pairs, options: dict, *, resumed: bool) -> TrunkEncoder:
    """The encoder to train: the model's own where it has one of this kind, else ImageNet's with a fitted head."""
    own = loaded.encoder
    if isinstance(own, TrunkEncoder) and not (options["fresh"] or resumed):
        return copy.deepcopy(own).requires_grad_(True)
    if resumed:
        config = TrunkEncoderConfig(num_ws=loaded.generator.num_ws, w_dim=loaded.generator.w_dim)
        return TrunkEncoder(config).to(options["device"])
    encoder = new_encoder(loaded.generator, imagenet=not options["fresh"]).to(options["device"])
    reduce_by_variance(encoder, samples)
    _fit(encoder, samples, held, options["fit"])
    return encoder


def _fit(encoder: TrunkEncoder, samples: Pairs, held: Pairs, images: int) -> None:
    for done in fit_head(encoder, samples, images=images):
        if done % 800 == 0:
            click.echo(f"features of {done} pictures")
    click.echo("closed form: " + _text(explained(encoder, held)))


def _measured(steps, trainer: EncoderTrainer, held: Pairs, metrics: MetricsFile):
    size = trainer.config.batch_size
    for losses in steps:
        if trainer.step % 500 == 0:
            figures = explained(trainer.average, held)
            metrics.write(images=trainer.step * size, **figures)
            click.echo(f"held out after {trainer.step} steps: {_text(figures)}")
        yield trainer.step * size, {name: float(value) for name, value in losses.items()}


def _text(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _write(loaded: Model, trainer: EncoderTrainer, held: Pairs, options: dict) -> None:
    encoder = trainer.average.cpu()
    click.echo(f"after {trainer.step} steps: {_text(explained(encoder, held))}")
    if options["export"] is not None:
        owner = {"generator": fingerprint(loaded.generator)}
        save_network(options["export"], encoder, dtype=torch.float16, extra=owner)
        click.echo(str(options["export"]))
    if options["install"] is not None:
        save_model(options["install"], replace(loaded, encoder=encoder), dtype=torch.float16)
        click.echo(f"{options['install']}: register it with `latentedit model add`")


if __name__ == "__main__":
    main()
