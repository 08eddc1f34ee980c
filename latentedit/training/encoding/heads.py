"""Training the small heads of a generator: its inner features to its own picture, averaged down.

Features are computed anew in every step, up to the level that a head reads: the dear levels come after it. Legend: ``N``
images, ``L`` style layers, ``C`` channels, ``r`` side of features.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.networks.mobilestylegan import MobileSynthesis
from latentedit.networks.small_heads import SmallHead, SmallHeads
from latentedit.training.encoding.pairs import Pairs
from latentedit.training.state import load_state, save_state, update_average


@dataclass(frozen=True)
class HeadsTrainingConfig:
    """``gradient`` weighs the squared error of differences between neighbours, which are the details."""

    batch_size: int = 2
    learning_rate: float = 3e-4
    warmup: int = 300
    gradient: float = 0.5
    ema_decay: float = 0.995
    bf16: bool = True
    seed: int = 0


class HeadsTrainer:
    """State of the training; the generator stays frozen."""

    def __init__(self, heads: SmallHeads, synthesis: MobileSynthesis, config: HeadsTrainingConfig) -> None:
        self.config = config
        self.synthesis = synthesis.eval().requires_grad_(False)
        self.heads = heads.requires_grad_(True)
        self.average = copy.deepcopy(heads).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.heads.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
        self.step = 0

    def features(self, ws: Tensor, *, bf16: bool) -> dict[int, Tensor]:
        """Features [N,C,side/2,side/2] by the side of the picture that is made from them."""
        wanted = {level: side for side, level in self.heads.levels.items()}
        found: dict[int, Tensor] = {}
        # Without gradients the reference writes into its inputs, which is slow where dtypes differ.
        with torch.enable_grad(), torch.autocast(ws.device.type, dtype=torch.bfloat16, enabled=bf16):
            for r, x in self.synthesis.levels(ws):
                if r in wanted:
                    found[wanted[r]] = x.detach()
                if len(found) == len(wanted):
                    return found
        raise AssertionError("a head reads features that the generator does not have")

    @torch.no_grad()
    def start(self, pairs: Pairs, images: int = 24) -> None:
        """Set every linear head by least squares on a few pictures: minutes of descent saved."""
        rows = range(images)
        targets = to_signed(pairs.pictures(rows))
        ws = pairs.latents(rows)
        sums: dict[int, tuple[Tensor, Tensor]] = {}
        for row in range(images):
            for side, x in self.features(ws[row : row + 1], bf16=True).items():
                head = self._head(side)
                styles = 0.5 * head.skip.style_gain * head.skip.affine(ws[row, head.first_row])
                design = (styles[:, None] * x[0].flatten(1).float()).double()
                design = torch.cat([design, torch.full_like(design[:1], 0.5)])
                wanted = _coefficients(_shrink(targets[row : row + 1], side))[0].flatten(1).double()
                gram, product = sums.get(side, (0.0, 0.0))
                sums[side] = (gram + design @ design.t(), product + design @ wanted.t())
        for side, (gram, product) in sums.items():
            ridge = 1e-5 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
            solved = torch.linalg.solve(gram + ridge, product).t().float()
            head = self._head(side)
            head.skip.weight.copy_(solved[:, :-1])
            head.skip.bias.copy_(solved[:, -1])
        self.average.load_state_dict(self.heads.state_dict())

    def _head(self, side: int) -> SmallHead:
        head = self.heads.heads[str(side)]
        assert isinstance(head, SmallHead)
        return head

    def train_step(self, ws: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """One update on latents [N,L,D] and their pictures [N,3,R,R]; returns the decibels by the side of the head."""
        config = self.config
        rate = config.learning_rate * min(1.0, (self.step + 1) / config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses, figures = [], {}
        for side, x in self.features(ws, bf16=config.bf16).items():
            wanted = _shrink(targets, side)
            with torch.autocast(ws.device.type, dtype=torch.bfloat16, enabled=config.bf16):
                found = self.heads(x, ws, side).float()
            error = clipped_error(found, wanted)
            mse = error.square().mean()
            edges = (error[..., 1:] - error[..., :-1]).square().mean()
            edges = edges + (error[..., 1:, :] - error[..., :-1, :]).square().mean()
            losses.append(mse + config.gradient * edges)
            figures[f"db{side}"] = 10 * torch.log10(4 / mse.detach())
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        self.optimizer.step()
        self.step += 1
        update_average(self.average, self.heads, min(config.ema_decay, self.step / (self.step + 10)))
        return figures

    def run(self, pairs: Pairs, steps: int, *, path: Path, save_every: int = 100) -> Iterator[dict[str, Tensor]]:
        """Yield figures until ``steps`` have been done in all; checkpoints go to ``path``."""
        while self.step < steps:
            random = np.random.default_rng([self.config.seed, self.step])
            rows = random.integers(pairs.refresh(), size=self.config.batch_size)
            yield self.train_step(pairs.latents(rows), to_signed(pairs.pictures(rows)))
            if self.step % save_every == 0:
                self.save(path)
        self.save(path)

    def _parts(self) -> dict[str, object]:
        return {"heads": self.heads, "average": self.average, "optimizer": self.optimizer, "step": self.step}

    def save(self, path: Path) -> None:
        """Write everything needed to go on."""
        save_state(path, self._parts())

    def load(self, path: Path) -> None:
        """Continue from a checkpoint that `save` wrote."""
        self.step = int(load_state(path, self._parts())["step"])


def to_signed(pictures: np.ndarray) -> Tensor:
    """uint8 [n,R,R,3] -> float32 [n,3,R,R] as they were before they became bytes, up to half a step."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)


def clipped_error(found: Tensor, wanted: Tensor) -> Tensor:
    """``found - wanted``, without what lies beyond white or black on both sides: bytes do not tell it."""
    error = found - wanted
    beyond = ((wanted > 0.995) & (error > 0)) | ((wanted < -0.995) & (error < 0))
    return error.masked_fill(beyond, 0.0)


def _shrink(images: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(images, images.shape[-1] // side) if images.shape[-1] > side else images


def _coefficients(images: Tensor) -> Tensor:
    """Wavelet coefficients [N,12,r,r] of images [N,3,2r,2r]: the inverse of `haar_cells`."""
    a, b = images[..., ::2, ::2], images[..., ::2, 1::2]
    c, d = images[..., 1::2, ::2], images[..., 1::2, 1::2]
    parts = [a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]
    return torch.cat(parts, dim=1) / 4
