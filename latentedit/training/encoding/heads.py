"""Training the small heads of a generator: its inner features to its own picture, averaged down.

Features are computed once for some hundred pictures and kept on the disk in float16; a step reads parts of them, so
that it costs little beside a full render. Legend: ``N`` pictures, ``L`` style layers, ``C`` channels, ``r`` side of
features.
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
from latentedit.training.encoding.least_squares import LeastSquares, coefficients
from latentedit.training.encoding.pairs import Pairs
from latentedit.training.encoding.trainer import to_signed
from latentedit.training.state import load_state, save_state, update_average

_BORDER = 3  # pixels at the border of a part that see zeros where the whole has features


class FeatureStore:
    """Features of ``count`` training pairs on the disk, made as they are needed: `more` adds one picture.

    ``folder`` holds ``features-<side>.npy`` float16 [count,r,r,C] and ``done.txt``; the pictures are the first pairs.
    """

    def __init__(
        self, folder: Path, synthesis: MobileSynthesis, pairs: Pairs, sides: tuple[int, ...], count: int
    ) -> None:
        self.folder, self.synthesis, self.pairs = folder, synthesis, pairs
        self.count = min(count, len(pairs))
        folder.mkdir(parents=True, exist_ok=True)
        self._arrays: dict[int, np.ndarray] = {}
        for side in sides:
            level = side.bit_length() - 4
            shape = (self.count, side // 2, side // 2, synthesis.config.channels[level])  # type: ignore[union-attr]
            path = folder / f"features-{side}.npy"
            mode = "r+" if path.exists() else "w+"
            self._arrays[side] = np.lib.format.open_memmap(path, mode, np.float16, shape)
        done = folder / "done.txt"
        self.done = int(done.read_text()) if done.exists() else 0

    def more(self) -> bool:
        """Compute the features of the next picture; False where all are there."""
        if self.done >= self.count:
            return False
        for side, x in inner_features(self.synthesis, self.pairs.latents([self.done]), tuple(self._arrays)).items():
            self._arrays[side][self.done] = x[0].permute(1, 2, 0).float().numpy()
        self.done += 1
        (self.folder / "done.txt").write_text(str(self.done))
        return True

    def part(self, side: int, row: int, top: int, left: int, extent: int) -> Tensor:
        """Features [1,C,extent,extent] of a picture from ``top``, ``left`` on."""
        part = self._arrays[side][row, top : top + extent, left : left + extent]
        return torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1)[None]


def inner_features(
    synthesis: MobileSynthesis, ws: Tensor, sides: tuple[int, ...], *, bf16: bool = True
) -> dict[int, Tensor]:
    """Features [N,C,side/2,side/2] by the side of the picture that is made from them."""
    wanted = {side // 2: side for side in sides}
    found: dict[int, Tensor] = {}
    # Without gradients the reference writes into its inputs, which is slow where dtypes differ.
    with torch.enable_grad(), torch.autocast(ws.device.type, dtype=torch.bfloat16, enabled=bf16):
        for r, x in synthesis.levels(ws):
            if r in wanted:
                found[wanted[r]] = x.detach()
            if len(found) == len(wanted):
                return found
    raise AssertionError("a head reads features that the generator does not have")


@dataclass(frozen=True)
class HeadsTrainingConfig:
    """``part`` is the share of a picture's side that a step reads of it; ``gradient`` weighs the squared error of
    differences between neighbours, which are the details; the features of ``first`` pictures are there before the first
    step, and of one more every ``more_every`` steps. Depthwise kernels stay the generator's own.
    """

    batch_size: int = 4
    part: float = 0.5
    first: int = 64
    more_every: int = 4
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
        for side in heads.config.sides:
            self._head(side).depthwise0.requires_grad_(False)
            self._head(side).depthwise1.requires_grad_(False)
        self.average = copy.deepcopy(heads).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(
            [p for p in heads.parameters() if p.requires_grad], lr=config.learning_rate, betas=(0.9, 0.99)
        )
        self.step = 0

    @torch.no_grad()
    def start(self, pairs: Pairs, images: int = 32) -> None:
        """Set what is linear in every head by least squares on a few pictures: hours of descent saved."""
        rows = np.linspace(0, len(pairs) - 1, images).astype(int)
        sums: dict[int, LeastSquares] = {}
        for row in rows:
            target, ws = to_signed(pairs.pictures([row])), pairs.latents([row])
            for side, x in inner_features(self.synthesis, ws, self.heads.config.sides).items():
                head = self._head(side)
                styles = 0.5 * head.skip.style_gain * head.skip.affine(ws[:, head.first_row])
                linear = styles[:, :, None, None] * x.float()
                detail, scale = head.details(x.float(), ws)
                sums.setdefault(side, LeastSquares()).add(
                    torch.cat([linear, torch.full_like(linear[:, :1], 0.5)], dim=1)[0],
                    coefficients(detail * scale[:, :, None, None])[0],
                    coefficients(_shrink(target, side))[0],
                )
        for side, found in sums.items():
            skip, image = found.solve()
            head = self._head(side)
            head.skip.weight.copy_(skip[:, :-1])
            head.skip.bias.copy_(skip[:, -1])
            head.image_weight.copy_(image)
        self.average.load_state_dict(self.heads.state_dict())

    def _head(self, side: int) -> SmallHead:
        head = self.heads.heads[str(side)]
        assert isinstance(head, SmallHead)
        return head

    def train_step(self, store: FeatureStore) -> dict[str, Tensor]:
        """One update on parts of the pictures in ``store``; returns the decibels by the side of the head."""
        config = self.config
        random = np.random.default_rng([config.seed, self.step])
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (self.step + 1) / config.warmup)
        losses, figures = [], {}
        for side in self.heads.config.sides:
            error = torch.cat([self._error(store, side, random) for _ in range(config.batch_size)])
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

    def _error(self, store: FeatureStore, side: int, random: np.random.Generator) -> Tensor:
        extent = max(round(side // 2 * self.config.part), 8)
        row = int(random.integers(store.done))
        top, left = (int(start) for start in random.integers(0, side // 2 - extent + 1, 2))
        ws = store.pairs.latents([row])
        wanted = _shrink(to_signed(store.pairs.pictures([row])), side)
        wanted = wanted[..., 2 * top : 2 * (top + extent), 2 * left : 2 * (left + extent)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.config.bf16):
            found = self._head(side)(store.part(side, row, top, left, extent), ws, (top, left)).float()
        return clipped_error(found, wanted)[..., _BORDER:-_BORDER, _BORDER:-_BORDER]

    def run(self, store: FeatureStore, steps: int, *, path: Path, save_every: int = 500) -> Iterator[dict[str, Tensor]]:
        """Yield figures until ``steps`` have been done in all; checkpoints go to ``path``, the last when it is left."""
        while store.done < min(self.config.first, store.count):
            store.more()
        try:
            while self.step < steps:
                yield self.train_step(store)
                if self.step % self.config.more_every == 0:
                    store.more()
                if self.step % save_every == 0:
                    self.save(path)
        finally:
            self.save(path)

    def _parts(self) -> dict[str, object]:
        return {"heads": self.heads, "average": self.average, "optimizer": self.optimizer, "step": self.step}

    def save(self, path: Path) -> None:
        """Write everything needed to go on."""
        save_state(path, self._parts())

    def load(self, path: Path) -> None:
        """Continue from a checkpoint that `save` wrote."""
        self.step = int(load_state(path, self._parts())["step"])


def clipped_error(found: Tensor, wanted: Tensor) -> Tensor:
    """``found - wanted``, without what lies beyond white or black on both sides: bytes do not tell it."""
    error = found - wanted
    beyond = ((wanted > 0.995) & (error > 0)) | ((wanted < -0.995) & (error < 0))
    return error.masked_fill(beyond, 0.0)


def _shrink(images: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(images, images.shape[-1] // side) if images.shape[-1] > side else images
