"""The loop that every descent of this package runs: on latents, on noise, on weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from latentedit.inversion.adam import Adam
from latentedit.inversion.problem import Problem, Stage
from latentedit.inversion.schedule import Schedule


class Moves(Protocol):
    """What a stage moves: how it is drawn, what holds it back, and how fast it goes."""

    @property
    def speeds(self) -> Sequence[float]:
        """Learning rate of every variable."""
        ...

    def draw(self, leaves: Sequence[Tensor], step: int) -> Tensor:
        """The image [1,3,R,R] of the variables ``leaves``, differentiable in them."""
        ...

    def pull(self, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        """Penalties, scalars that are added to the loss of the image."""
        ...

    def settle(self, variables: Sequence[Tensor]) -> None:
        """Bring the variables back, in place, to where they must be after a step."""
        ...


def descend(problem: Problem, stage: Stage, variables: Sequence[Tensor], moves: Moves, *, patience: int = 0) -> int:
    """Move ``variables`` in place so that their image comes closer to the problem's target; returns the steps taken.

    With ``patience``, a photo that no longer gains ends earlier (`Schedule`). Judges that cost much are asked on every
    ``judge_every``-th step, at that many times their weight.
    """
    config, objective = problem.config, problem.objective
    schedule = Schedule(
        stage.steps, ramp_up=config.ramp_up, ramp_down=config.ramp_down, patience=patience, min_gain=config.min_gain
    )
    adam = Adam(variables)
    stream = torch.Generator().manual_seed(problem.seed)
    for step in range(stage.steps):
        judged = step % config.judge_every == 0
        leaves = [variable.detach().requires_grad_() for variable in variables]
        image = moves.draw(leaves, step)
        losses = objective(image, judged=judged, windows=objective.windows(stream))
        total = objective.total(losses, every=config.judge_every).sum()
        for penalty in moves.pull(leaves):
            total = total + penalty
        rate = schedule.rate(step)
        adam.step(torch.autograd.grad(total, leaves), [speed * rate for speed in moves.speeds])
        moves.settle(variables)
        if judged:
            schedule.observe(step, objective.total(losses)[0])
        problem.report(stage, step, losses, image)
        if schedule.finished(step):
            return step + 1
    return stage.steps
