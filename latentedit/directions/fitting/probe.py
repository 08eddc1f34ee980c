"""Render latents and read their scores: the measurements that directions are chosen and calibrated by.

Legend: ``N`` latents, ``L`` layers, ``R`` resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentedit.attributes import BRIGHTNESS, get_unit
from latentedit.directions.direction import Direction
from latentedit.directions.fitting.light import LIGHT, light_scores

if TYPE_CHECKING:
    from latentedit.networks import FacePerception, Perception, StyleGenerator


LOOKED_AT = 128
"""Pixels along a side that suffice: perception networks resample faces to 64, of a part of the crop."""

PIXELS = 32 * 256**2
"""Most pixels of a batch: 32 pictures of 256 px, or 2 of 1024, whose features take 1 GB."""


class Probe:
    """A generator and a perception network as one function from latents to scores.

    ``generator`` and ``perception`` must be on the same device and in evaluation mode. The noise is the stored one,
    so that the same latents give the same scores. Where the generator has a head for small pictures of `LOOKED_AT` px
    or more, these are looked at: they tell the same for a fraction of the time.
    """

    def __init__(
        self,
        generator: StyleGenerator,
        perception: FacePerception,
        *,
        batch: int = 32,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.generator = generator
        self.perception = perception
        enough = [size for size in generator.synthesis.preview_resolutions if size >= LOOKED_AT]
        self.resolution = min(enough, default=generator.resolution)
        self.batch = max(1, min(batch, PIXELS // self.resolution**2))
        self.progress = progress
        self.rendered = 0

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def units(self) -> dict[str, str]:
        """The unit of every score of `scores`."""
        return {**self.perception.units, **dict.fromkeys(LIGHT, BRIGHTNESS)}

    def spread_ws(self, w: np.ndarray | Tensor) -> Tensor:
        """``w`` [N, w_dim] repeated over the layers: [N, L, w_dim] on the device."""
        rows = torch.as_tensor(np.asarray(w), dtype=torch.float32, device=self.device)
        return rows[:, None].repeat(1, self.generator.num_ws, 1)

    def render(self, ws: Tensor) -> Tensor:
        """Images [N, 3, R, R] of the probe's ``resolution``, differentiable and in one go."""
        if self.resolution == self.generator.resolution:
            return self.generator.synthesis(ws, noise_mode="const")
        return self.generator.synthesis(ws, noise_mode="const", resolution=self.resolution)

    def read(self, images: Tensor) -> tuple[Perception, dict[str, Tensor]]:
        """What the perception network sees in ``images``, and every score [N] by canonical name."""
        seen = self.perception.perceive(images)
        return seen, {**seen.scores(), **light_scores(images)}

    @torch.no_grad()
    def images(self, ws: Tensor) -> Tensor:
        """Images [N, 3, R, R] in [-1,1]."""
        parts = [self.render(part) for part in ws.split(self.batch)]
        self._count(len(ws))
        return torch.cat(parts)

    @torch.no_grad()
    def scores(self, ws: Tensor) -> dict[str, np.ndarray]:
        """Every score [N] (float64) of the rendered ``ws`` [N, L, w_dim], by canonical attribute name: what the
        perception network reads, and `light_scores`."""
        parts: list[dict[str, np.ndarray]] = []
        for part in ws.split(self.batch):
            _, scores = self.read(self.render(part))
            parts.append({name: value.double().cpu().numpy() for name, value in scores.items()})
            self._count(len(part))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def compare(self, before: Tensor, after: Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Change [N] of every score from the rendered ``before`` to ``after``, and the identity distances [N]."""
        changes: list[dict[str, np.ndarray]] = []
        distances = []
        for a, b in zip(before.split(self.batch), after.split(self.batch), strict=True):
            (first, early), (second, late) = self.read(self.render(a)), self.read(self.render(b))
            distances.append(self.perception.identity_distance(first, second).double().cpu().numpy())
            changes.append({name: (late[name] - x).double().cpu().numpy() for name, x in early.items()})
            self._count(2 * len(a))
        moved = {name: np.concatenate([part[name] for part in changes]) for name in changes[0]}
        return moved, np.concatenate(distances)

    def _count(self, images: int) -> None:
        self.rendered += images
        if self.progress is not None:
            self.progress(images)


def score_spreads(scores: Mapping[str, np.ndarray], units: Mapping[str, str]) -> dict[str, float]:
    """Standard deviation of each score among samples (NaN: unlabelled), bounded from below by its unit: a score that
    hardly varies must not make every change look large."""
    return {
        name: max(float(np.nanstd(values)), get_unit(units.get(name, "")).spread)
        for name, values in scores.items()
        if np.isfinite(values).any()
    }


@dataclass(frozen=True)
class Leakage:
    """What moving along a direction does.

    ``own`` is the mean change of the wanted score and ``others`` those of the rest, from one end of the move to the
    other, each divided by the score's spread among samples. ``identity`` is the mean identity distance between the
    two ends (0.6: the same-person threshold). ``step`` is the distance moved each way.
    """

    own: float
    others: Mapping[str, float]
    identity: float
    step: float

    def ratio(self, name: str) -> float:
        """|change of ``name``| per change of the own score, both in spreads."""
        return abs(self.others[name]) / max(abs(self.own), 1e-6)

    def cost(self, tolerance: float) -> float:
        """Root of the summed squares of the ratios beyond ``tolerance``."""
        return math.sqrt(sum(max(self.ratio(name) - tolerance, 0.0) ** 2 for name in self.others))

    def price(self, tolerance: float) -> float:
        """`cost`, plus the identity distance per change of the own score: to compare different ways of moving."""
        return self.cost(tolerance) + self.identity / max(abs(self.own), 1e-6)


class LeakageMeter:
    """Moves the same latents ``ws`` [N, L, w_dim] along any direction, and looks at the scores named in ``spreads``.

    ``own`` is the score that the direction is meant to change, ``spreads`` the standard deviations by `score_spreads`.
    """

    def __init__(self, probe: Probe, ws: Tensor, *, own: str, spreads: Mapping[str, float]) -> None:
        self.probe = probe
        self.ws = ws
        self.own = own
        self.spreads = dict(spreads)

    def measure(self, direction: Direction, step: float) -> Leakage:
        """Mean changes from ``-step`` to ``+step`` along ``direction``."""
        moved, identity = self.probe.compare(
            self.ws + direction.displacement(self.ws, -step), self.ws + direction.displacement(self.ws, step)
        )
        shares = {name: float(moved[name].mean()) / spread for name, spread in self.spreads.items() if name in moved}
        return Leakage(shares.pop(self.own), shares, float(identity.mean()), step)
