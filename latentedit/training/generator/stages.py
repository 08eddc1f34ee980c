"""The stages of making a model, each resumable from its file in the run's folder.

``autoencoder.pt`` (photos rebuilt), ``mapping.pt`` (z fitted to the latents), ``adversarial.pt`` (sharpened). Each
stage starts from the file of the one before, or goes on from its own; `export` turns the newest into a model folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from latentedit.errors import ModelError
from latentedit.networks import (
    Discriminator,
    DiscriminatorConfig,
    Encoder,
    EncoderConfig,
    FeatureDiscriminator,
    Generator,
    GeneratorConfig,
    PatchDiscriminator,
    PerceptionNetwork,
)
from latentedit.training.data.crops import FaceCrops, training_batch
from latentedit.training.generator.adversarial import AdversarialTrainer
from latentedit.training.generator.autoencoder import Autoencoder, AutoencoderConfig, recentre
from latentedit.training.generator.grow import grow_discriminator, grow_generator
from latentedit.training.generator.latent_fit import LatentCritic, LatentFit, LatentFitConfig
from latentedit.training.generator.recipes import AdversarialConfig
from latentedit.training.state import load_state, save_state

JUDGES = ("patches", "features")
"""Discriminators beside StyleGAN's own."""

StageProgress = tuple[int, dict[str, float]]
"""Images (or steps) done so far, and the losses of the latest update."""


@dataclass(frozen=True)
class RunConfig:
    """Networks and folder of a run; ``save_every`` counts images."""

    folder: Path
    generator: GeneratorConfig
    encoder: EncoderConfig
    discriminator: DiscriminatorConfig
    save_every: int = 8_000
    masked_share: float = 0.125

    def path(self, stage: str) -> Path:
        """The checkpoint of ``stage``."""
        return self.folder / f"{stage}.pt"


@dataclass
class Networks:
    """What a stage leaves behind: weight averages, and the discriminators once there are any."""

    generator: Generator
    encoder: Encoder | None = None
    discriminator: Discriminator | None = None
    critic: LatentCritic | None = None
    judges: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """States of the further discriminators, by name."""

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        """The networks that there are, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.nn.Module)}


def autoencode(run: RunConfig, faces: FaceCrops, images: int, config: AutoencoderConfig) -> Iterator[StageProgress]:
    """Train encoder and synthesis network as an autoencoder until ``images`` photos have been seen."""
    stage = Autoencoder(run.generator, run.encoder, replace(config, masked_share=run.masked_share))
    path = run.path("autoencoder")
    if path.exists():
        stage.load(path)
    size = config.batch_size
    for losses in stage.run(faces, -(-images // size)):
        yield stage.step * size, {name: float(value) for name, value in losses.items()}
        if stage.step % (run.save_every // size) == 0:
            stage.save(path)
    stage.save(path)


def autoencoder_networks(run: RunConfig, config: AutoencoderConfig, faces: FaceCrops) -> Networks:
    """The averaged networks of the first stage, with latents standardised on ``faces``."""
    stage = Autoencoder(run.generator, run.encoder, config)
    stage.load(_existing(run.path("autoencoder")))
    generator, encoder = stage.averaged(faces)
    return Networks(generator.eval(), encoder.eval())


@torch.no_grad()
def encode_all(encoder: Encoder, faces: FaceCrops, batch_size: int = 64, *, masked_share: float = 0.0) -> Tensor:
    """Base latents [n, w_dim] of all crops and of their mirror images; ``masked_share`` of them wear drawn masks."""
    wanted = round(len(faces) * masked_share / (1 - masked_share))
    masked = np.random.default_rng(0).permutation(len(faces.masked))[:wanted]
    rows = []
    for indices, drawn in ((np.arange(len(faces)), False), (masked, True)):
        for start in range(0, len(indices), batch_size):
            photos = faces.tensor(indices[start : start + batch_size], masked=drawn)
            rows += [encoder.parts(photos)[0], encoder.parts(photos.flip(3))[0]]
    return torch.cat(rows)


def remap(target: RunConfig, networks: Networks, faces: FaceCrops, config: LatentFitConfig) -> Iterator[StageProgress]:
    """Recentre the latents of joint training, fit the mapping anew to them, and write the start of the run ``target``.

    While the encoder learns, its latents leave the places that the mapping was fitted to, and samples come from beside
    those of photos.
    """
    generator, encoder = networks.generator, networks.encoder
    assert encoder is not None
    latents = encode_all(encoder.eval(), faces, masked_share=target.masked_share)
    fit = LatentFit(generator.mapping.requires_grad_(True), recentre(generator, encoder, latents), config)
    fit.start_gaussian()
    yield from enumerate(fit.adversarial(), start=1)
    save_run(target)
    save_start(target, networks)


def fit_mapping(
    run: RunConfig, networks: Networks, latents: Tensor, config: LatentFitConfig
) -> Iterator[StageProgress]:
    """Fit the mapping network to ``latents`` [n, w_dim] and write the second stage's file."""
    fit = LatentFit(networks.generator.mapping.requires_grad_(True), latents, config)
    fit.start_gaussian()
    yield from enumerate(fit.adversarial(), start=1)
    networks.critic = fit.critic
    save_state(
        run.path("mapping"), {"generator": networks.generator, "encoder": networks.encoder, "critic": networks.critic}
    )


def mapping_networks(run: RunConfig) -> Networks:
    """The networks that `fit_mapping` wrote."""
    critic = LatentCritic(run.generator.w_dim)
    networks = Networks(Generator(run.generator), Encoder(run.encoder), critic=critic)
    parts = {"generator": networks.generator, "encoder": networks.encoder, "critic": critic}
    load_state(_existing(run.path("mapping")), parts)
    return networks


def adversarial_trainer(
    run: RunConfig,
    config: AdversarialConfig,
    fabric: Fabric,
    *,
    start: Networks | None = None,
    perceive: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    perception: PerceptionNetwork | None = None,
) -> AdversarialTrainer:
    """A trainer that goes on from ``adversarial.pt``, else from ``start``, else from random weights.

    ``perception`` is what the discriminator of features looks through; without it there is none.
    """
    torch.manual_seed(config.seed)
    start = start or Networks(Generator(run.generator))
    encoder = start.encoder if config.reconstruction is not None else None
    if config.reconstruction is not None and encoder is None:
        encoder = Encoder(run.encoder)
    trainer = AdversarialTrainer(
        start.generator.requires_grad_(True).train().to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
        (start.discriminator or Discriminator(run.discriminator)).to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
        config,
        fabric,
        # Batch norm stays at its settled statistics: the average then renders what the trained weights do.
        encoder=None if encoder is None else encoder.requires_grad_(True).eval().to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
        critic=start.critic,
        judges=_judges(config, start, perception),
        perceive=perceive,
    )
    path = run.path("adversarial")
    if path.exists():
        trainer.load(path)
    return trainer


def _judges(
    config: AdversarialConfig, start: Networks, perception: PerceptionNetwork | None
) -> dict[str, torch.nn.Module]:
    """The further discriminators that the configuration weighs, as ``start`` has them where it does."""
    judges: dict[str, torch.nn.Module] = {}
    if config.patch_weight > 0:
        judges["patches"] = PatchDiscriminator()
    if config.feature_weight > 0 and perception is not None:
        judges["features"] = FeatureDiscriminator(perception)
    for name, judge in judges.items():
        if name in start.judges:
            judge.load_state_dict(start.judges[name])
    return judges


def adversarial(run: RunConfig, trainer: AdversarialTrainer, faces: FaceCrops, images: int) -> Iterator[StageProgress]:
    """Train until ``images`` photos have been seen in all; writes ``adversarial.pt`` every ``save_every`` images."""
    fabric, config, path = trainer.fabric, trainer.config, run.path("adversarial")
    saved = trainer.images
    while trainer.images < images:
        seed = config.seed + fabric.global_rank
        photos = training_batch(faces, config.batch_size, seed=seed, step=trainer.step, masked_share=run.masked_share)
        yield trainer.images, trainer.train_step(photos)
        if trainer.images - saved >= run.save_every and fabric.global_rank == 0:
            trainer.save(path)
            saved = trainer.images
    if fabric.global_rank == 0:
        trainer.save(path)


def save_start(run: RunConfig, networks: Networks, *, dtype: torch.dtype = torch.float32) -> None:
    """Write networks that an adversarial run is to start from: grown ones, those of a model to tune, or of another run.

    ``dtype`` float16 halves a file that is to be kept.
    """
    states = {name: module.state_dict() for name, module in networks.modules.items()} | networks.judges
    halved = {name: {key: value.to(dtype) for key, value in state.items()} for name, state in states.items()}
    save_state(run.path("start"), halved)


def start_networks(run: RunConfig) -> Networks:
    """What `save_start` wrote; parts that were not there are None."""
    state = torch.load(_existing(run.path("start")), weights_only=True)
    networks = Networks(Generator(run.generator))
    if "encoder" in state:
        networks.encoder = Encoder(run.encoder)
    if "discriminator" in state:
        networks.discriminator = Discriminator(run.discriminator)
    if "critic" in state:
        networks.critic = LatentCritic(run.generator.w_dim)
    for name, module in networks.modules.items():
        module.load_state_dict(state[name])
    networks.judges = {name: state[name] for name in JUDGES if name in state}
    return networks


def grown_networks(source: Path) -> Networks:
    """Generator and discriminator of twice the resolution from another run's adversarial stage."""
    old = load_run(source)
    networks = adversarial_networks(old)
    assert networks.discriminator is not None
    return Networks(grow_generator(networks.generator), None, grow_discriminator(networks.discriminator))


def adversarial_networks(run: RunConfig, *, average: bool = True) -> Networks:
    """The networks of ``adversarial.pt``; ``average=False`` takes the raw weights instead of their EMA."""
    state = torch.load(_existing(run.path("adversarial")), map_location="cpu", weights_only=True)
    suffix = "_ema" if average else ""
    networks = Networks(Generator(run.generator), None, Discriminator(run.discriminator))
    networks.generator.load_state_dict(state["generator" + suffix])
    assert networks.discriminator is not None
    networks.discriminator.load_state_dict(state["discriminator"])
    if "encoder" in state:
        networks.encoder = Encoder(run.encoder)
        networks.encoder.load_state_dict(state["encoder" + suffix])
        networks.critic = LatentCritic(run.generator.w_dim)
        networks.critic.load_state_dict(state["critic"])
    networks.judges = {name: state[name] for name in JUDGES if name in state}
    return networks


def newest_networks(run: RunConfig) -> Networks:
    """Weight averages of the run's last stage."""
    networks = adversarial_networks(run) if run.path("adversarial").exists() else mapping_networks(run)
    networks.generator.eval()
    if networks.encoder is not None:
        networks.encoder.eval()
    return networks


def save_run(run: RunConfig) -> None:
    """Write the run's configuration beside its checkpoints, so that later commands need only the folder."""
    values: dict[str, Any] = {**asdict(run), "folder": None}
    save_state(run.path("run"), values)


def load_run(folder: Path) -> RunConfig:
    """Read what `save_run` wrote.

    Raises:
        ModelError: the folder holds no run.
    """
    values = torch.load(_existing(folder / "run.pt"), weights_only=True)
    return RunConfig(
        folder=folder,
        generator=GeneratorConfig(**values["generator"]),
        encoder=EncoderConfig(**values["encoder"]),
        discriminator=DiscriminatorConfig(**values["discriminator"]),
        save_every=values["save_every"],
        masked_share=values["masked_share"],
    )


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ModelError(f"{str(path)!r} is not there.", "Run the stage that writes it first.")
    return path
