"""Gradient descent on the latent and the noise of one photo.

Legend: ``L`` style layers, ``K`` w of the photo (1 or L), ``D`` width of w, ``P`` noise pixels, ``R`` resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentedit.codes import Code
from latentedit.inversion.loop import descend
from latentedit.inversion.low_rank import refined
from latentedit.inversion.problem import Plan, Problem, Solution, Stage
from latentedit.inversion.whitening import LatentSpace


@dataclass(frozen=True)
class Place:
    """Where a photo is: coordinates ``u`` [1,K,D] of ``space``, and all noise [1,P]."""

    space: LatentSpace
    u: Tensor
    noise: Tensor

    def ws(self, problem: Problem) -> Tensor:
        """The latent [1,L,D]."""
        ws = self.space.to_ws(self.u)
        return ws.expand(-1, problem.generator.num_ws, -1) if ws.shape[1] == 1 else ws

    def render(self, problem: Problem) -> Tensor:
        """The image [1,3,R,R]."""
        noise = problem.bench.maps.unpack(self.noise)
        return problem.generator.synthesis(self.ws(problem), noise_mode="const", noise=noise)


@dataclass(frozen=True)
class _Latent:
    """One w for all layers (``pivot`` from the encoder's on, ``w`` from anywhere, shaken at first), or W+ and noise."""

    problem: Problem
    stage: Stage
    start: Place
    stream: torch.Generator

    @property
    def speeds(self) -> Sequence[float]:
        config = self.problem.config
        latent = {"pivot": config.pivot_learning_rate, "w": config.w_learning_rate, "w+": config.learning_rate}
        return [latent[self.stage.name], config.noise_learning_rate][: len(self.variables())]

    def variables(self) -> list[Tensor]:
        """What moves: ``u``, and in W+ the noise."""
        noisy = self.stage.name == "w+" and self.problem.config.optimize_noise and self.start.noise.numel() > 0
        return [self.start.u.clone(), self.start.noise.clone()] if noisy else [self.start.u.clone()]

    def place(self, variables: Sequence[Tensor]) -> Place:
        return Place(self.start.space, variables[0], variables[1] if len(variables) > 1 else self.start.noise)

    def draw(self, leaves: Sequence[Tensor], step: int) -> Tensor:
        if self.stage.name == "w":
            leaves = [leaves[0] + self._jitter(step / self.stage.steps)]
        return self.place(leaves).render(self.problem)

    def pull(self, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        config, u = self.problem.config, leaves[0]
        if self.stage.name == "pivot":
            return [config.pivot_weight * u.square().mean()]
        if self.stage.name == "w":
            return []
        spread = (u - u.mean(dim=1, keepdim=True)).square().mean()
        penalties = [config.spread_weight * spread, config.average_weight * u.square().mean()]
        if len(leaves) > 1:
            penalties.append(config.noise_weight * self.problem.bench.maps.regularity(leaves[1]).sum())
        return penalties

    def settle(self, variables: Sequence[Tensor]) -> None:
        if len(variables) > 1:
            self.problem.bench.maps.normalize_(variables[1])

    def _jitter(self, share: float) -> Tensor:
        """Noise on w that fades over the first three quarters (Karras et al. 2020, appendix D)."""
        strength = self.problem.config.jitter * max(0.0, 1 - share / 0.75) ** 2
        draw = torch.randn(self.start.u.shape[1:], generator=self.stream)
        return strength * draw[None].to(self.start.u.device)


def seek(problem: Problem, stage: Stage, start: Place) -> tuple[Place, int]:
    """Descend from ``start`` through one stage; returns where that led, and the steps taken."""
    if not stage.steps:
        return start, 0
    latent = _Latent(problem, stage, start, torch.Generator().manual_seed(problem.seed))
    variables = latent.variables()
    patience = problem.config.patience if stage.name == "w+" else 0
    taken = descend(problem, stage, variables, latent, patience=patience)
    return latent.place(variables), taken


@torch.no_grad()
def better(problem: Problem, one: Place, other: Place) -> Place:
    """The place whose image is nearer to the target: no photo ends worse than it started."""
    first, second = (float(problem.objective.total(problem.objective(p.render(problem)))) for p in (one, other))
    return one if first < second else other


def descended(problem: Problem, stage: Stage, start: Place, plan: Plan) -> Solution:
    """The end of a descent on latents: the last stage of it, what is kept of it, and the stage on weights."""
    found, taken = seek(problem, stage, start)
    place = better(problem, found, start)
    kept = stage.name == "w+" and problem.config.optimize_noise
    noise = problem.bench.maps.unpack(place.noise) if kept else {}
    code = Code(place.ws(problem).contiguous(), {name: value.clone() for name, value in noise.items()})
    code = refined(problem, code, place.noise, plan)
    return Solution(code, stage.first + taken + plan.weights)
