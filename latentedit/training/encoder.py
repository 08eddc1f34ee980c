"""Training an encoder into W+ for a finished generator (after e4e, Tov et al. 2021; pSp, Richardson et al. 2021).

Photos come back through the frozen generator and are compared in pixels, perception features, and identity; samples
teach latents directly. A photo with a drawn mask is compared with the photo without: the encoder learns to see through.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.networks import Encoder, Generator
from latentedit.training.data.crops import FaceCrops
from latentedit.training.generator.autoencoder import gradient_error
from latentedit.training.state import load_state, save_state, update_average

Perceive = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """Weights of the losses, and shares of a batch: ``masked_share`` of the photos, ``sample_share`` more samples."""

    batch_size: int = 16
    learning_rate: float = 5e-4
    mse: float = 10.0
    gradient: float = 10.0
    perceptual: float = 1.0
    identity: float = 1.0
    latent: float = 0.1
    offset: float = 1e-3
    masked_share: float = 0.25
    sample_share: float = 0.25
    ema_decay: float = 0.998
    bf16: bool = True
    seed: int = 0


class EncoderTrainer:
    """State of the training; the generator stays frozen.

    Args:
        perceive: maps rebuilt and real photos to perceptual and identity distances, [N] each; None leaves both out.
    """

    def __init__(
        self, encoder: Encoder, generator: Generator, config: EncoderTrainingConfig, perceive: Perceive | None = None
    ) -> None:
        self.config = config
        self.perceive = perceive
        self.generator = generator.eval().requires_grad_(False)
        # Batch norm keeps its settled statistics, so that the average renders what the trained weights do.
        self.encoder = encoder.eval().requires_grad_(True).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
        self.step = 0

    def batch(self, faces: FaceCrops) -> tuple[Tensor, Tensor]:
        """Inputs and targets [N,3,R,R] of the current step; they differ where a mask is drawn."""
        config = self.config
        random = np.random.default_rng([config.seed, self.step])
        count = int(random.binomial(config.batch_size, config.masked_share)) if len(faces.masked) else 0
        clean = random.integers(len(faces), size=config.batch_size - count)
        chosen = random.integers(max(len(faces.masked), 1), size=count)
        inputs, targets = faces.tensor(clean), faces.tensor(clean)
        if count:
            inputs = torch.cat([inputs, faces.tensor(chosen, masked=True)])
            targets = torch.cat([targets, faces.tensor(faces.masked_of[chosen])])
        mirrored = torch.from_numpy(random.random(len(inputs)) < 0.5)[:, None, None, None]
        return torch.where(mirrored, inputs.flip(3), inputs), torch.where(mirrored, targets.flip(3), targets)

    def train_step(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One update; returns the losses by name."""
        config = self.config
        reduced = torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=config.bf16)
        with reduced:
            base, offsets = self.encoder.parts(inputs)
            rebuilt = self.generator.synthesis(base.unsqueeze(1) + offsets).float()
        terms = {
            "mse": F.mse_loss(rebuilt, targets),
            "gradient": gradient_error(rebuilt, targets).mean(),
            "offset": offsets.square().sum(dim=2).mean(),
        }
        if self.perceive is not None:
            with reduced:
                perceptual, identity = self.perceive(rebuilt, targets)
            terms |= {"perceptual": perceptual.mean(), "identity": identity.mean()}
        samples = round(config.batch_size * config.sample_share)
        if samples:
            with torch.no_grad():
                w = self.generator.mapping(torch.randn(samples, self.generator.z_dim, device=inputs.device))
            with reduced:
                found, _ = self.encoder.parts(self.generator.synthesis(w))
            terms["latent"] = F.mse_loss(found, w[:, 0])
        loss = torch.stack([getattr(config, name) * value for name, value in terms.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        update_average(self.average, self.encoder, min(config.ema_decay, self.step / (self.step + 10)))
        return {name: value.detach() for name, value in terms.items()}

    def run(self, faces: FaceCrops, images: int, *, path: Path, save_every: int = 8000) -> Iterator[dict[str, Tensor]]:
        """Yield losses until ``images`` photos have been seen in all; checkpoints go to ``path``."""
        size = self.config.batch_size
        while self.step * size < images:
            device = next(self.encoder.parameters()).device
            inputs, targets = (part.to(device) for part in self.batch(faces))
            yield self.train_step(inputs, targets)
            if self.step % max(save_every // size, 1) == 0:
                self.save(path)
        self.save(path)

    def _parts(self) -> dict[str, object]:
        return {"encoder": self.encoder, "average": self.average, "optimizer": self.optimizer, "step": self.step}

    def save(self, path: Path) -> None:
        """Write everything needed to go on."""
        save_state(path, {**self._parts(), "random": torch.get_rng_state()})

    def load(self, path: Path) -> None:
        """Continue from a checkpoint that `save` wrote."""
        values = load_state(path, self._parts())
        self.step = int(values["step"])
        torch.set_rng_state(values["random"])
