"""``encoder``: one forward pass, and optional passes of feedback.

Legend: ``N`` photos, ``L`` style layers, ``D`` width of w, ``R`` resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from latentedit.codes import Code
from latentedit.images import resize
from latentedit.inversion.config import InversionConfig
from latentedit.inversion.losses import pixel_loss
from latentedit.inversion.low_rank import refined
from latentedit.inversion.problem import Plan, Problem, Solution
from latentedit.networks import StyleEncoder, StyleGenerator

STEPS = 80
"""Steps on weights where they are asked for; without, the method takes none."""


@torch.no_grad()
def encode(generator: StyleGenerator, encoder: StyleEncoder, target: Tensor, *, feedback: int = 0) -> Tensor:
    """Latents [N,L,D] of the crops ``target`` [N,3,R,R] in [-1,1].

    Each pass of ``feedback`` encodes the current image as well and moves the latent by the difference of the two codes,
    a fixed-point iteration in the spirit of ReStyle (Alaluf et al. 2021, eq. 2) that needs no encoder trained for it.
    A photo keeps a pass only where its pixels came closer. An encoder that was trained to correct itself runs its own
    loop instead.
    """
    size = encoder.resolution

    def render(ws: Tensor) -> Tensor:
        return resize(generator.synthesis(ws, noise_mode="const").clamp(-1, 1), size)

    goal = encoder.refine(resize(target, size), render).float()
    ws = goal
    if encoder.iterative or not feedback:
        return ws
    image = generator.synthesis(ws, noise_mode="const")
    loss = pixel_loss(image, target)
    for _ in range(feedback):
        candidate = ws + goal - encoder(resize(image.clamp(-1, 1), size)).float()
        drawn = generator.synthesis(candidate, noise_mode="const")
        attempt = pixel_loss(drawn, target)
        closer = (attempt < loss)[:, None, None]
        ws = torch.where(closer, candidate, ws)
        image = torch.where(closer[..., None], drawn, image)
        loss = torch.minimum(attempt, loss)
    return ws


def encoded(problem: Problem) -> Tensor:
    """The encoder's latent [1,L,D] of a photo, with as many passes of feedback as the settings ask for."""
    encoder = problem.bench.model.require("encoder")
    return encode(problem.generator, encoder, problem.target, feedback=problem.config.feedback)


@dataclass(frozen=True)
class EncoderMethod:
    """One pass, and where weights are to be refined, all steps on those."""

    name: str = "encoder"
    needs: tuple[Literal["encoder"], ...] = ("encoder",)

    def plan(self, config: InversionConfig) -> Plan:
        if config.refine != "weights":
            return Plan()
        return Plan(weights=STEPS if config.steps is None else config.steps)

    def solve(self, problem: Problem) -> Solution:
        plan = self.plan(problem.config)
        code = Code(encoded(problem))
        return Solution(refined(problem, code, problem.stored_noise, plan) if plan.weights else code, plan.weights)


METHOD = EncoderMethod()
