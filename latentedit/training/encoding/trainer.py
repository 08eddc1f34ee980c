"""Training an encoder into W+: latents of the generator's own samples, then pictures in the loop, of photos too.

e4e (Tov et al. 2021) with exact pairs: half of a batch are samples whose latents are known. With no weight on pictures
nothing is rendered (stage A); with weight the latents are rendered small and compared (stage B). The optimiser and the
step go on from one stage to the next. Legend: ``N`` pictures, ``L`` style layers, ``D`` width of w.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.networks.protocols import StyleGenerator
from latentedit.networks.trunk_encoder import TrunkEncoder
from latentedit.training.encoding.chips import chip_frames
from latentedit.training.encoding.critic import Critic
from latentedit.training.encoding.degrade import DegradeConfig, degrade
from latentedit.training.encoding.pairs import Pairs
from latentedit.training.encoding.photos import Photos
from latentedit.training.state import load_state, save_state, update_average

Compare = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]
"""Rendered pictures, wanted ones, [N,3,r,r] each, and the frames of their faces [N,2,3] -> distances [N] by name."""


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """Weights of the losses by name, shares of a batch, and rates.

    ``side`` is that of the rendered pictures; ``photo_share`` the share of photos in a batch where there are photos;
    ``frozen_blocks`` are the trunk's first blocks that keep their ImageNet weights, as all depthwise kernels do: their
    gradients cost the most and matter the least.
    """

    batch_size: int = 16
    trunk_rate: float = 1e-4
    head_rate: float = 2e-5
    warmup: int = 100
    side: int = 128
    photo_share: float = 0.5
    weights: dict[str, float] = field(default_factory=lambda: dict(STAGE_A))
    frozen_blocks: int = 5
    ema_decay: float = 0.998
    bf16: bool = True
    degrade: DegradeConfig = field(default_factory=DegradeConfig)
    seed: int = 0

    @property
    def renders(self) -> bool:
        """Whether pictures are in the loop."""
        return any(self.weights.get(name, 0) > 0 for name in ("pixel", "perceptual", "identity"))


STAGE_A = {"latent": 1.0, "offset": 0.05}
STAGE_B = {"latent": 0.3, "offset": 0.02, "pixel": 1.0, "perceptual": 0.8, "identity": 0.3, "critic": 0.02}


class Batch(NamedTuple):
    """``inputs`` and clean ``targets`` [N,3,R,R], frames of the faces [N,2,3], and latents [n,L,D] of the first n."""

    inputs: Tensor
    targets: Tensor
    frames: Tensor
    latents: Tensor


class EncoderTrainer:
    """State of the training; the generator stays frozen.

    Args:
        compare: distances of rendered and wanted pictures by the names of ``config.weights``; None in stage A.
    """

    def __init__(
        self,
        encoder: TrunkEncoder,
        generator: StyleGenerator,
        config: EncoderTrainingConfig,
        compare: Compare | None = None,
    ) -> None:
        self.config = config
        self.compare = compare
        self.generator = generator.eval().requires_grad_(False)
        self.encoder = encoder.requires_grad_(True).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = copy.deepcopy(encoder).eval().requires_grad_(False)
        freeze(self.encoder, config.frozen_blocks)
        trunk = [*encoder.trunk.parameters(), *encoder.reduce.parameters()]  # frozen ones have no gradient
        head = [p for name in ("base", "hidden", "bend", "offset") for p in getattr(encoder, name).parameters()]
        self.optimizer = torch.optim.Adam([{"params": trunk}, {"params": head}], betas=(0.9, 0.99))
        self.critic = Critic(encoder.config.w_dim)
        self.step = 0
        self._measure()

    def _measure(self) -> None:
        scales = self.encoder.basis.norm(dim=1)
        self.importance = scales / scales.square().mean().sqrt()
        self.unbasis = torch.linalg.inv(self.encoder.basis.double()).float()

    def coordinates(self, ws: Tensor) -> Tensor:
        """Latents [...,D] in standard deviations along the principal axes of W."""
        return (ws - self.encoder.w_avg) @ self.unbasis

    def batch(self, pairs: Pairs, photos: Photos | None) -> Batch:
        """The pictures of the current step, degraded as its number says."""
        config = self.config
        random = np.random.default_rng([config.seed, self.step])
        real = round(config.batch_size * config.photo_share) if photos is not None else 0
        rows = random.integers(pairs.refresh(), size=config.batch_size - real)
        pictures, landmarks = [pairs.pictures(rows)], [pairs.landmarks(rows)]
        if photos is not None and real:
            chosen = random.integers(len(photos), size=real)
            shots, points = photos.pictures(chosen), photos.landmarks(chosen)
            mirrored = random.random(real) < 0.5
            shots[mirrored] = shots[mirrored, :, ::-1]
            points[mirrored] = mirror(points[mirrored], shots.shape[2])
            pictures.append(shots)
            landmarks.append(points)
        clean, points = np.concatenate(pictures), np.concatenate(landmarks)
        changed = [degrade(one, random, config.degrade, where) for one, where in zip(clean, points, strict=True)]
        frames = chip_frames(points, clean.shape[1]) if config.renders else torch.zeros(len(clean), 2, 3)
        return Batch(to_signed(np.stack(changed)), to_signed(clean), frames, pairs.latents(rows))

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """One update; returns the unweighted losses by name."""
        config = self.config
        for group, rate in zip(self.optimizer.param_groups, (config.trunk_rate, config.head_rate), strict=True):
            group["lr"] = rate * min(1.0, (self.step + 1) / config.warmup)
        with torch.autocast(batch.inputs.device.type, dtype=torch.bfloat16, enabled=config.bf16):
            base, offsets = self.encoder.coordinates(batch.inputs)
        terms = self._latent_terms(base, offsets, batch.latents)
        if config.renders:
            ws = self.encoder.w_avg + (base.unsqueeze(1) + offsets) @ self.encoder.basis
            terms |= self._picture_terms(ws, batch)
        if config.weights.get("critic", 0) > 0:
            terms |= self._critic_terms(base, offsets)
        loss = torch.stack([config.weights.get(name, 0.0) * value for name, value in terms.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        update_average(self.average, self.encoder, min(config.ema_decay, self.step / (self.step + 10)))
        return {name: value.detach() for name, value in terms.items()}

    def _latent_terms(self, base: Tensor, offsets: Tensor, latents: Tensor) -> dict[str, Tensor]:
        known = len(latents)
        wanted = self.coordinates(latents)
        found = base[:known].unsqueeze(1) + offsets[:known]
        # The base is to be the mean of the rows, so that the offsets hold only what differs between them.
        middle = (base[:known] - wanted.mean(dim=1)).square()
        rows = (found - wanted).square()
        both = (middle * self.importance).mean() + (rows * self.importance).mean()
        return {"latent": 0.5 * both, "offset": offsets.square().mean()}

    def _picture_terms(self, ws: Tensor, batch: Batch) -> dict[str, Tensor]:
        side = self.config.side
        with torch.autocast(ws.device.type, dtype=torch.bfloat16, enabled=self.config.bf16):
            rendered = self.generator.synthesis(ws, resolution=side).float()
        wanted = F.avg_pool2d(batch.targets, batch.targets.shape[-1] // side)
        terms = {"pixel": F.mse_loss(rendered, wanted)}
        if self.compare is not None:
            with torch.autocast(ws.device.type, dtype=torch.bfloat16, enabled=self.config.bf16):
                found = self.compare(rendered, wanted, batch.frames)
            terms |= {name: value.float().mean() for name, value in found.items()}
        return terms

    def _critic_terms(self, base: Tensor, offsets: Tensor) -> dict[str, Tensor]:
        rows = torch.randint(offsets.shape[1], (4,))
        found = (base.unsqueeze(1) + offsets[:, rows]).flatten(0, 1)
        with torch.no_grad():
            z = torch.randn(len(found), self.generator.z_dim, device=found.device)
            c = torch.zeros(len(z), self.generator.c_dim, device=z.device) if self.generator.c_dim else None
            psi = torch.empty(len(z), 1, device=z.device).uniform_(0.6, 1)
            real = psi * self.coordinates(self.generator.mapping(z, c)[:, 0])
        told = self.critic.learn(real, found)
        return {"critic": self.critic.judge(found), "told": told}

    def run(
        self, pairs: Pairs, photos: Photos | None, steps: int, *, path: Path, save_every: int = 250
    ) -> Iterator[dict[str, Tensor]]:
        """Yield losses until ``steps`` have been done in all; checkpoints go to ``path``, the last when it is left."""
        device = self.encoder.basis.device
        try:
            while self.step < steps:
                torch.manual_seed(self.config.seed * 1_000_003 + self.step)
                batch = self.batch(pairs, photos)
                yield self.train_step(Batch(*(part.to(device) for part in batch)))
                if self.step % save_every == 0:
                    self.save(path)
        finally:
            self.save(path)

    def _parts(self) -> dict[str, object]:
        parts = {"encoder": self.encoder, "average": self.average, "optimizer": self.optimizer, "critic": self.critic}
        return {**parts, "step": self.step}

    def save(self, path: Path) -> None:
        """Write everything needed to go on."""
        save_state(path, self._parts())

    def load(self, path: Path) -> None:
        """Continue from a checkpoint that `save` wrote."""
        self.step = int(load_state(path, self._parts())["step"])
        self._measure()


def freeze(encoder: TrunkEncoder, blocks: int) -> None:
    """Leave the stem, the first ``blocks`` blocks and every depthwise kernel as they are."""
    encoder.trunk.stem.requires_grad_(False)
    for index, block in enumerate(encoder.trunk.blocks):
        (block if index < blocks else block.depthwise).requires_grad_(False)  # type: ignore[union-attr]


_MIRRORED = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46), *(39, 38, 37, 36, 41, 40),
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
]  # fmt: skip


def mirror(landmarks: np.ndarray, side: int) -> np.ndarray:
    """Landmarks [n,68,2] of mirrored pictures of ``side``."""
    turned = landmarks[:, _MIRRORED].copy()
    turned[..., 0] = side - 1 - turned[..., 0]
    return turned


def to_signed(pictures: np.ndarray) -> Tensor:
    """uint8 [n,R,R,3] -> float32 [n,3,R,R] in [-1,1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
