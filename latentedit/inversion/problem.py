"""What a method is given and what it gives back: the photo, what all photos of a call share, and the solution.

Legend: ``L`` style layers, ``D`` width of w, ``R`` resolution, ``P`` noise pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from latentedit.codes import Code
from latentedit.inversion.config import InversionConfig
from latentedit.inversion.losses import Objective
from latentedit.inversion.noise import NoiseMaps
from latentedit.inversion.whitening import LatentSpace
from latentedit.models import Model
from latentedit.networks import FacePerception, StyleGenerator

StageName = Literal["pivot", "w", "w+", "weights"]


@dataclass(frozen=True)
class Plan:
    """Steps that a method takes at most: on the latent, and then on weights."""

    latent: int = 0
    weights: int = 0

    @property
    def total(self) -> int:
        return self.latent + self.weights


@dataclass(frozen=True)
class Progress:
    """What a callback learns of a step.

    ``rows`` [1] is the photo at work (its position in the list that was given), ``losses`` its unweighted losses [1] by
    name, as far as measured on this step; ``images`` [1,3,R,R] on every n-th step, else None. ``step`` counts from 1
    over all stages of a photo up to ``steps``; ``completed`` counts the steps of all photos together, up to ``steps``
    times their number.
    """

    step: int
    steps: int
    stage: StageName
    rows: tuple[int, ...]
    losses: dict[str, Tensor]
    images: Tensor | None = None
    completed: int = 0


Callback = Callable[[Progress], object]


@dataclass(frozen=True)
class Stage:
    """A stretch of the descent of one photo: its name, first step, steps, and the steps of all stages."""

    name: StageName
    first: int
    steps: int
    total: int


@dataclass(frozen=True)
class Bench:
    """What all photos of a call share: the model, the settings, and what is measured of the generator once."""

    model: Model
    config: InversionConfig

    @property
    def generator(self) -> StyleGenerator:
        return self.model.generator

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def perception(self) -> FacePerception | None:
        """The model's perception network, looking at its own part of the model's crops; None where there is none."""
        template = self.model.template
        return self.model.perception and self.model.perception.for_template(template.scale, template.shift)

    @cached_property
    def space(self) -> LatentSpace:
        """Whitened coordinates of the generator's W."""
        return LatentSpace.measure(self.generator)

    @cached_property
    def maps(self) -> NoiseMaps:
        """The generator's noise maps that make a difference."""
        return NoiseMaps.of(self.generator.synthesis)


@dataclass(frozen=True)
class Problem:
    """One photo to invert: its crop ``target`` [1,3,R,R] in [-1,1], and ``weights`` [1,1,R,R] in [0,1] or None, which
    say what of it counts; ``seed`` of its random numbers; ``row`` is its position among the photos of the call."""

    bench: Bench
    target: Tensor
    weights: Tensor | None = None
    seed: int = 0
    row: int = 0
    callback: Callback | None = None

    @property
    def config(self) -> InversionConfig:
        return self.bench.config

    @property
    def generator(self) -> StyleGenerator:
        return self.bench.generator

    @cached_property
    def objective(self) -> Objective:
        """What is compared, and what can be computed of the target beforehand."""
        return Objective.build(self.target, config=self.config, perception=self.bench.perception, weights=self.weights)

    @cached_property
    def stored_noise(self) -> Tensor:
        """The generator's own noise maps as [1,P]."""
        return self.bench.maps.stored(self.generator.synthesis).to(self.target.device)

    def report(self, stage: Stage, step: int, losses: dict[str, Tensor], image: Tensor) -> None:
        """Tell the callback, if there is one, what ``step`` (from 0) of ``stage`` found."""
        if self.callback is None:
            return
        number, every = stage.first + step + 1, self.config.image_every
        shown = image.detach() if every and (number % every == 0 or number == stage.total) else None
        measured = {name: value.detach() for name, value in losses.items()}
        completed = self.row * stage.total + number
        self.callback(Progress(number, stage.total, stage.name, (self.row,), measured, shown, completed))


@dataclass(frozen=True)
class Solution:
    """What was found of one photo: its `Code` of one row, and how many steps were taken."""

    code: Code
    steps: int = 0
