"""Training of the perception network: one loop for all heads, each learning where a crop has its label.

Legend: ``N`` crops, ``K`` attributes, ``D`` identity dimensions.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed

from latentedit.errors import ModelError
from latentedit.files import atomic_path
from latentedit.networks.perception import PerceptionConfig, PerceptionNetwork
from latentedit.training.data.labels import FaceTable
from latentedit.training.perception.augment import augment
from latentedit.training.perception.losses import Targets, losses
from latentedit.training.perception.recipe import TrainingConfig


class PerceptionTrainer:
    """State of a run: the network, its moving average, the optimiser, and how many crops were seen.

    With ``processes`` > 1, ``torch.distributed`` must be initialised; each process takes its share of every batch, and
    gradients (and the clock) are averaged, so that all hold the same network. Process 0 reports and saves.
    """

    def __init__(
        self,
        table: FaceTable,
        config: TrainingConfig,
        *,
        device: str | torch.device = "cpu",
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        torch.manual_seed(config.seed)
        self.rank, self.processes = rank, processes
        self.config, self.table, self.device = config, table, torch.device(device)
        self.network = PerceptionNetwork(config.network).to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.99), fused=True)
        self.targets = Targets(table, self.device)
        self.images, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the schedule that is done, 0 to 1."""
        spent = 0.0 if self.config.minutes is None else self.seconds / (60 * self.config.minutes)
        return min(1.0, max(self.images / self.config.images, spent))

    def rate(self) -> float:
        """Learning rate now: a linear warm-up, then a half cosine to 1 % of the peak."""
        progress, warmup = self.progress, self.config.warmup
        if progress < warmup:
            return self.config.rate * (0.02 + 0.98 * progress / warmup)
        fall = (progress - warmup) / (1 - warmup)
        return self.config.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))

    def order(self, number: int) -> np.ndarray:
        """Row numbers of pass ``number``, each data set drawn as often as the configuration says."""
        rng = np.random.RandomState(self.config.seed * 1000 + number)
        repeats = np.array([self.config.repeats.get(name, 1.0) for name in self.table.dataset])
        repeats = np.where(self.table.masked, self.config.masked, repeats) * (self.table.split == "train")
        counts = np.floor(repeats + rng.random_sample(len(repeats))).astype(int)
        return rng.permutation(np.repeat(np.arange(len(repeats)), counts))

    def batches(self) -> Iterator[np.ndarray]:
        """Batches of row numbers from where the run stands; ends never."""
        per_pass, number, skip = len(self.order(0)) // self.config.batch, 0, self.images // self.config.batch
        number, skip = divmod(skip, max(per_pass, 1))
        while True:
            order = self.order(number)
            for start in range(skip * self.config.batch, len(order) - self.config.batch + 1, self.config.batch):
                yield order[start : start + self.config.batch]
            number, skip = number + 1, 0

    def step(self, rows: np.ndarray) -> dict[str, float]:
        """One step of the optimiser on the batch ``rows``; returns the losses."""
        config, total, began = self.config, len(rows), time.monotonic()
        rows = rows[self.rank :: self.processes]
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + self.images + self.rank)
        batch = augment(self.table.images(rows).to(self.device), config.augment, rng)
        indices = torch.from_numpy(rows).to(self.device)
        self.network.train()
        reduced = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices),
            torch.autocast(self.device.type, reduced, enabled=config.precision != "float32"),
        ):
            torch.manual_seed(rng.initial_seed())  # dropout draws from the global generator
            heads = self.network(batch.images)
        heads = {name: value.float() for name, value in heads.items()}
        memory = self.targets.memory
        picks = torch.randint(max(len(memory), 1), [min(2048, len(memory))], generator=rng).to(self.device)
        parts = losses(heads, self.targets, indices, batch.flipped, batch.roll, config, memory[picks])
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        self._share(time.monotonic() - began)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        self.images += total
        self._update_average()
        return {name: float(value.detach()) for name, value in parts.items()}

    def _share(self, seconds: float) -> None:
        """Average the gradients over the processes, and count the time of the step, the same in each."""
        if self.processes > 1:
            for parameter in self.network.parameters():  # a head without labels in this share has none
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
            flat = torch.cat([torch.tensor([seconds], device=self.device), *(g.reshape(-1) for g in gradients)])
            torch.distributed.all_reduce(flat)
            flat /= self.processes
            parts = flat[1:].split([g.numel() for g in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
            seconds = flat[0].item()
        self.seconds += seconds

    @torch.no_grad()
    def _update_average(self) -> None:
        half_life = min(self.config.ema_images, 0.1 * self.images)
        decay = 0.5 ** (self.config.batch / max(half_life, 1))
        pairs = zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True)
        kept, current = zip(*((a, b) for a, b in pairs if a.is_floating_point()), strict=True)
        torch._foreach_lerp_(list(kept), list(current), 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end of the schedule; yields mean losses and speed every ``report_images`` crops."""
        totals: dict[str, float] = {}
        seen, mark, began = 0, self.images, time.monotonic()
        for rows in self.batches():
            if self.progress >= 1:
                break
            for name, value in self.step(rows).items():
                totals[name] = totals.get(name, 0.0) + value * len(rows)
            seen += len(rows)
            if self.images - mark >= self.config.report_images or self.progress >= 1:
                means = {name: value / seen for name, value in totals.items()}
                speed = 1000 * (time.monotonic() - began) / seen
                facts = {"images": self.images, "seconds": self.seconds, "ms_per_image": speed, "rate": self.rate()}
                yield facts | means
                totals, seen, mark, began = {}, 0, self.images, time.monotonic()

    def start_from(self, network: torch.nn.Module) -> None:
        """Begin with the weights of ``network``, trained before, at the start of the schedule.

        Raises:
            ModelError: a network of another shape, or a folded one.
        """
        own, given = self.network.state_dict(), network.state_dict()
        if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in given.items()}:
            raise ModelError(
                "The weights to start from are of another network.", "Give start.safetensors, not the folded export."
            )
        self.network.load_state_dict(given)
        self.average.load_state_dict(given)

    def state(self) -> dict[str, Any]:
        """Everything that a continued run needs, plain tensors and numbers."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "images": self.images,
            "seconds": self.seconds,
            "config": asdict(self.config),
        }

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        with atomic_path(path) as temporary:
            torch.save(self.state(), temporary)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of the same network; the schedule is that of the present configuration."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict({**self.network.state_dict(), **state["network"]})
        self.average.load_state_dict({**self.average.state_dict(), **state["average"]})
        self.optimiser.load_state_dict(state["optimiser"])
        self.images, self.seconds = state["images"], state["seconds"]


def load_average(path: Path) -> PerceptionNetwork:
    """The averaged network of a checkpoint, for evaluation."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    values = state["config"]["network"]
    network = PerceptionNetwork(replace(PerceptionConfig(), **values))
    network.load_state_dict({**network.state_dict(), **state["average"]})
    return network.eval().requires_grad_(False)
