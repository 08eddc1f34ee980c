"""Train a generator on the crops that scripts/prepare_faces.py made, in stages, and export it as a model folder.

\b
    python scripts/train_generator.py new RUN --resolution 64        # networks and folder of a run
    python scripts/train_generator.py autoencoder RUN prepared       # photos rebuilt: faces in an hour of two cores
    python scripts/train_generator.py mapping RUN prepared           # z fitted to the latents found
    python scripts/train_generator.py adversarial RUN prepared       # sharpened against an adversary (ADA, R1, ...)
    python scripts/train_generator.py remap RUN prepared RUN2        # the mapping follows the encoder
    python scripts/train_generator.py adversarial RUN2 prepared --rates 0.3 --images 20000     # small steps at the end
    python scripts/train_generator.py export RUN2 MODEL --perception faces64
    python scripts/train_generator.py grow RUN2 RUN128               # a run of twice the resolution
    python scripts/train_generator.py keep RUN2 KEPT                 # a small start for a later run (KEPT/start.pt)

Every stage goes on where it was interrupted. ``adversarial --plain`` alone is StyleGAN2-ADA training from scratch, for
those with GPUs and days; ``tune`` starts it from an existing model, on your own faces.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch
from _common import of_class, perception_losses, report, save_grid

from latentedit.errors import LatentEditError
from latentedit.evaluation.generator import measure_samples
from latentedit.faces.dataset import TIGHT
from latentedit.latents import seed_z
from latentedit.models import load_model
from latentedit.networks import DiscriminatorConfig, Encoder, Generator, GeneratorConfig, PerceptionNetwork
from latentedit.training.data.crops import FaceCrops
from latentedit.training.face_teacher import DlibFaceNetwork
from latentedit.training.generator.adversarial import AdversarialTrainer
from latentedit.training.generator.autoencoder import AutoencoderConfig
from latentedit.training.generator.export import export_model
from latentedit.training.generator.latent_fit import LatentFitConfig
from latentedit.training.generator.recipes import AdversarialConfig, encoder_for, grown_encoder
from latentedit.training.generator.stages import (
    Networks,
    RunConfig,
    adversarial,
    adversarial_networks,
    adversarial_trainer,
    autoencode,
    autoencoder_networks,
    encode_all,
    fit_mapping,
    grown_networks,
    load_run,
    mapping_networks,
    remap,
    save_run,
    save_start,
    start_networks,
)
from latentedit.training.state import MetricsFile

Folder = click.Path(file_okay=False, path_type=Path)


class Cli(click.Group):
    """Turn the library's errors into one line."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LatentEditError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Cli, help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
def main(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


@main.command()
@click.argument("run", type=Folder)
@click.option("--resolution", default=64, show_default=True)
@click.option("--channel-base", default=2048, show_default=True, help="Channels times resolution, generator.")
@click.option("--channel-max", default=256, show_default=True)
@click.option("--judge-base", default=1024, show_default=True, help="The same for the discriminator.")
@click.option("--masked", default=0.125, show_default=True, help="Share of photos wearing a drawn mask.")
def new(run: Path, resolution: int, channel_base: int, channel_max: int, judge_base: int, masked: float) -> None:
    """Set up the folder RUN and choose the sizes of its networks."""
    generator = GeneratorConfig(resolution=resolution, channel_base=channel_base, channel_max=channel_max)
    encoder = encoder_for(generator, blocks=0)
    judge = DiscriminatorConfig(resolution=resolution, channel_base=judge_base, channel_max=channel_max)
    save_run(RunConfig(run, generator, encoder, judge, masked_share=masked))


@main.command()
@click.argument("run", type=Folder)
@click.argument("data", type=Folder)
@click.option("--images", default=150_000, show_default=True, help="Photos to see in all.")
@click.option("--batch", default=16, show_default=True)
def autoencoder(run: Path, data: Path, images: int, batch: int) -> None:
    """Train encoder and synthesis network together as an autoencoder."""
    config = load_run(run)
    faces = FaceCrops(data, config.generator.resolution)
    stage = autoencode(config, faces, images, AutoencoderConfig(batch_size=batch))
    report(stage, MetricsFile(run / "autoencoder.jsonl"))


@main.command()
@click.argument("run", type=Folder)
@click.argument("data", type=Folder)
@click.option("--steps", default=500, show_default=True, help="Updates against the critic on latents.")
def mapping(run: Path, data: Path, steps: int) -> None:
    """Fit the mapping network to the latents of the photos."""
    config = load_run(run)
    faces = FaceCrops(data, config.generator.resolution)
    networks = autoencoder_networks(config, AutoencoderConfig(), faces)
    assert networks.encoder is not None
    latents = encode_all(networks.encoder, faces, masked_share=config.masked_share)
    stage = fit_mapping(config, networks, latents, LatentFitConfig(critic_steps=steps))
    report(stage, MetricsFile(run / "mapping.jsonl"), unit="steps")


@main.command(name="adversarial")
@click.argument("run", type=Folder)
@click.argument("data", type=Folder)
@click.option("--images", default=200_000, show_default=True, help="Photos to see in all.")
@click.option("--batch", default=16, show_default=True, help="Per process and update.")
@click.option("--accumulate", default=1, show_default=True, help="Parts that a batch is taken in.")
@click.option("--plain", is_flag=True, help="Without encoder and reconstruction: StyleGAN2-ADA.")
@click.option("--perception", default="faces64", show_default=True, help="Model whose perception network judges.")
@click.option("--rates", default=1.0, show_default=True, help="Factor of the learning rates; 0.3 for a last stretch.")
@click.option("--gamma", type=float, help="Weight of R1 [0.0002 R^2 / batch, at least 0.5].")
@click.option("--accelerator", default="auto", show_default=True, help="'cpu', 'cuda', as Lightning Fabric names it.")
@click.option("--devices", default=1, show_default=True, help="Processes, one GPU each.")
@click.option("--precision", default="bf16-mixed", show_default=True, help="Or '16-mixed', '32-true'.")
@click.option("--grid-every", default=20_000, show_default=True, help="Images between sample grids and figures.")
@click.option("--samples", default=10_000, show_default=True, help="Samples that figures are of; 0 measures none.")
def adversarial_command(
    run: Path,
    data: Path,
    images: int,
    batch: int,
    accumulate: int,
    plain: bool,
    perception: str,
    rates: float,
    gamma: float | None,
    accelerator: str,
    devices: int,
    precision: str,
    grid_every: int,
    samples: int,
) -> None:
    """Train against the discriminator, with the photos kept in the objective unless --plain.

    As it goes, a grid of samples is written, and progress.jsonl gets their Fréchet distance to the held-out photos as a
    multiple of that between two halves of the photos, their sharpness, and the share in which dlib finds a face.
    """
    from lightning_fabric import Fabric

    config = load_run(run)
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    size = config.generator.resolution
    recipe = AdversarialConfig.plain if plain else AdversarialConfig.joint
    settings = recipe(size, batch, processes=fabric.world_size, accumulate=accumulate).slowed(rates)
    if gamma is not None:
        settings = replace(settings, r1_gamma=gamma)
    judge = load_model(_model(perception), device=fabric.device)
    perception_network = of_class(judge.require("perception"), PerceptionNetwork)
    perceive = None
    if not plain:
        perceive = perception_losses(perception_network, DlibFaceNetwork(dtype=torch.bfloat16).to(fabric.device))
    trainer = adversarial_trainer(
        config, settings, fabric, start=_start(config, plain), perceive=perceive, perception=perception_network
    )
    faces, held = FaceCrops(data, size), FaceCrops(data, size, split="held")
    metrics = MetricsFile(run / "adversarial.jsonl")
    while trainer.images < images:
        until = min(images, (trainer.images // grid_every + 1) * grid_every)
        report(adversarial(config, trainer, faces, until), metrics)
        if fabric.is_global_zero:
            _grid(run / f"samples-{trainer.images:07d}.png", trainer)
            if samples and len(held) > 1:
                figures = measure_samples(trainer.average, perception_network, held, samples)
                MetricsFile(run / "progress.jsonl").write(images=trainer.images, **figures)


def _start(config: RunConfig, plain: bool) -> Networks | None:
    """Where adversarial training starts: grown or tuned networks, the fitted mapping, or nothing."""
    if config.path("start").exists():
        return start_networks(config)
    return None if plain else mapping_networks(config)


def _model(name: str) -> str | None:
    """The embedded model goes by its name or by none."""
    return None if name == "faces64" else name


@torch.no_grad()
def _grid(path: Path, trainer: AdversarialTrainer) -> None:
    z = seed_z(range(64), trainer.average.z_dim).to(trainer.fabric.device)
    save_grid(path, trainer.average(z, truncation_psi=0.7).cpu(), 16)


@main.command(name="remap")
@click.argument("run", type=Folder)
@click.argument("data", type=Folder)
@click.argument("remapped", type=Folder)
@click.option("--steps", default=150, show_default=True, help="Updates against the critic on latents.")
def remap_command(run: Path, data: Path, remapped: Path, steps: int) -> None:
    """Set up REMAPPED, which goes on from RUN with the mapping fitted anew to the photos' latents."""
    old = load_run(run)
    faces = FaceCrops(data, old.generator.resolution)
    networks = adversarial_networks(old, average=False)
    stage = remap(replace(old, folder=remapped), networks, faces, LatentFitConfig(critic_steps=steps))
    report(stage, MetricsFile(run / "remap.jsonl"), unit="steps")


@main.command()
@click.argument("run", type=Folder)
@click.argument("grown", type=Folder)
def grow(run: Path, grown: Path) -> None:
    """Set up GROWN, a run of twice RUN's resolution that starts from its adversarial stage."""
    old = load_run(run)
    networks = grown_networks(run)
    assert networks.discriminator is not None
    generator = networks.generator.config
    encoder = grown_encoder(old.encoder, generator)
    config = replace(
        old, folder=grown, generator=generator, encoder=encoder, discriminator=networks.discriminator.config
    )
    save_run(config)
    save_start(config, networks)


@main.command()
@click.argument("model")
@click.argument("run", type=Folder)
@click.option("--judge-base", default=1024, show_default=True, help="Channels times resolution, discriminator.")
def tune(model: str, run: Path, judge_base: int) -> None:
    """Set up RUN to go on training the generator of MODEL on your own faces."""
    loaded = load_model(_model(model))
    generator, encoder = of_class(loaded.generator, Generator), of_class(loaded.require("encoder"), Encoder)
    judge = DiscriminatorConfig(
        resolution=loaded.resolution, channel_base=judge_base, channel_max=generator.config.channel_max
    )
    config = RunConfig(run, generator.config, encoder.config, judge)
    save_run(config)
    save_start(config, Networks(generator, encoder))


@main.command()
@click.argument("run", type=Folder)
@click.argument("kept", type=Folder)
def keep(run: Path, kept: Path) -> None:
    """Write what a later run needs to go on from RUN's adversarial stage: raw weights and judges in float16."""
    config = replace(load_run(run), folder=kept)
    save_run(config)
    save_start(config, adversarial_networks(load_run(run), average=False), dtype=torch.float16)


@main.command()
@click.argument("run", type=Folder)
@click.argument("model", type=Folder)
@click.option("--name", help="Name of the model [the folder's].")
@click.option("--perception", default="faces64", show_default=True, help="Model whose perception network it gets.")
@click.option("--card", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="MODEL_CARD.md to include.")
def export(run: Path, model: Path, name: str | None, perception: str, card: Path | None) -> None:
    """Write RUN's newest averaged weights as the model folder MODEL."""
    judge = load_model(_model(perception))
    text = card.read_text(encoding="utf-8") if card else None
    made = export_model(
        run,
        model,
        name=name or model.name,
        template=TIGHT,
        perception=of_class(judge.require("perception"), PerceptionNetwork),
        card=text,
    )
    click.echo(f"{model}: generator {made.fingerprint}")


if __name__ == "__main__":
    main()
