"""The first stage of the embedded model: encoder and synthesis network trained together on photos.

Rebuilding photos teaches a small generator faces in an hour of two cores, where adversarial training alone would need
days; the mapping network is fitted to the latents afterwards and an adversary sharpens both.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.networks import Encoder, EncoderConfig, Generator, GeneratorConfig
from latentedit.training.data.crops import FaceCrops, training_batch
from latentedit.training.generator.latent_fit import CENTRE
from latentedit.training.state import load_state, save_state, update_average


@dataclass(frozen=True)
class AutoencoderConfig:
    """Settings of the stage; ``gradient_weight`` weighs the squared error of image gradients, which are the details.

    ``latent_noise`` is the standard deviation of the noise added to the latents: it spreads each photo over a
    neighbourhood of W, so that the space between photos renders faces too. ``moments_weight`` holds every coordinate of
    the latents near mean 0 and variance 1, which gives that noise its meaning.
    """

    batch_size: int = 16
    learning_rate: float = 1.5e-3
    warmup: int = 200
    gradient_weight: float = 1.0
    latent_noise: float = 0.25
    moments_weight: float = 0.05
    masked_share: float = 0.125
    ema_decay: float = 0.998
    bf16: bool = True
    seed: int = 0


def gradient_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of horizontal and vertical image gradients, per row [N]."""
    d = x - y
    dx, dy = d[..., :, 1:] - d[..., :, :-1], d[..., 1:, :] - d[..., :-1, :]
    return dx.square().mean(dim=[1, 2, 3]) + dy.square().mean(dim=[1, 2, 3])


class Autoencoder:
    """State of the stage: networks, weight averages, and optimiser."""

    def __init__(self, generator: GeneratorConfig, encoder: EncoderConfig, config: AutoencoderConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.generator = Generator(generator).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.encoder = Encoder(encoder).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.averages = {
            name: copy.deepcopy(module).eval().requires_grad_(False)
            for name, module in (("generator", self.generator), ("encoder", self.encoder))
        }
        trained = [*self.encoder.parameters(), *self.generator.synthesis.parameters()]
        self.optimizer = torch.optim.Adam(trained, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
        self.step = 0

    def train_step(self, photos: Tensor) -> dict[str, Tensor]:
        """One update on ``photos`` [N,3,R,R]; returns the losses."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (self.step + 1) / config.warmup)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
            base, _ = self.encoder.parts(photos)
            w = base + config.latent_noise * torch.randn_like(base)
            ws = w.unsqueeze(1).expand(-1, self.generator.num_ws, -1)
            images = self.generator.synthesis(ws, noise_mode="none")
        mse = F.mse_loss(images, photos)
        edges = gradient_error(images, photos).mean()
        moments = base.mean(dim=0).square().mean() + (base.std(dim=0) - 1).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        (mse + config.gradient_weight * edges + config.moments_weight * moments).backward()
        self.optimizer.step()
        self.step += 1
        decay = min(config.ema_decay, self.step / (self.step + 10))
        update_average(self.averages["generator"], self.generator, decay)
        update_average(self.averages["encoder"], self.encoder, decay)
        return {"mse": mse.detach(), "gradient": edges.detach()}

    def run(self, faces: FaceCrops, steps: int) -> Iterator[dict[str, Tensor]]:
        """Yield the losses of each step until ``steps`` have been done in all."""
        while self.step < steps:
            share = self.config.masked_share
            size = self.config.batch_size
            yield self.train_step(
                training_batch(faces, size, seed=self.config.seed, step=self.step, masked_share=share)
            )

    def parts(self) -> dict[str, object]:
        """Everything a checkpoint holds."""
        return {
            "generator": self.generator,
            "encoder": self.encoder,
            "generator_ema": self.averages["generator"],
            "encoder_ema": self.averages["encoder"],
            "optimizer": self.optimizer,
            "step": self.step,
        }

    def save(self, path: str | Path) -> None:
        save_state(path, self.parts())

    def load(self, path: str | Path) -> None:
        """Continue from a checkpoint that `save` wrote."""
        self.step = int(load_state(path, self.parts())["step"])

    def averaged(self, faces: FaceCrops) -> tuple[Generator, Encoder]:
        """Copies of the averaged generator and encoder, made consistent on ``faces`` by `standardise`."""
        generator, encoder = copy.deepcopy(self.averages["generator"]), copy.deepcopy(self.averages["encoder"])
        standardise(generator, encoder, faces)
        return generator, encoder


@torch.no_grad()
def standardise(generator: Generator, encoder: Encoder, faces: FaceCrops, *, images: int = 4096) -> None:
    """Settle an averaged encoder on ``faces``, in place, without changing what the pair renders.

    Batch norm statistics are those of the raw weights and are measured again (precise batch norm, Wu & Johnson 2021),
    and the latents are recentred.
    """
    chosen = np.random.default_rng(0).permutation(len(faces))[:images]
    chunks = [faces.tensor(rows) for rows in np.array_split(chosen, -(-len(chosen) // 64))]
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    encoder.train()
    for chunk in chunks:
        encoder.parts(chunk)
    encoder.eval()
    recentre(generator, encoder, torch.cat([encoder.parts(chunk)[0] for chunk in chunks]))


@torch.no_grad()
def recentre(generator: Generator, encoder: Encoder, base: Tensor) -> Tensor:
    """Bring latents to mean `CENTRE` and unit variance in every coordinate without changing what the pair renders.

    ``base`` [n, w_dim] are the encoder's latents of photos; returned as they are afterwards. The encoder's last layers
    and the affine layers of the synthesis network take up the difference, in place.
    """
    mean, std = base.mean(dim=0), base.std(dim=0).clamp_min(1e-8)
    encoder.base.weight.div_(std[:, None])
    assert encoder.base.bias is not None
    encoder.base.bias.sub_(mean).div_(std).add_(CENTRE)
    if encoder.config.offsets:
        layers = encoder.config.num_ws
        encoder.offset.weight.div_(std.repeat(layers)[:, None])
        assert encoder.offset.bias is not None
        encoder.offset.bias.div_(std.repeat(layers))
    for layer in generator.synthesis.modules():
        affine = getattr(layer, "affine", None)
        if affine is not None:
            affine.bias.add_(affine.weight @ (mean - CENTRE * std) * affine.weight_gain)
            affine.weight.mul_(std)
    return (base - mean) / std + CENTRE
