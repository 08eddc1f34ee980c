"""Gradient descent on latents and noise for a batch of photos, each row independent of its neighbours.

Legend: ``N`` photos, ``L`` style layers, ``K`` w per photo (1 or L), ``D`` width of w, ``P`` noise pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from latentedit.inversion.adam import RowAdam
from latentedit.inversion.config import InversionConfig
from latentedit.inversion.losses import Objective
from latentedit.inversion.noise import NoiseMaps
from latentedit.inversion.schedule import Schedule
from latentedit.inversion.whitening import LatentSpace

Stage = Literal["pivot", "w", "w+", "weights"]


@dataclass(frozen=True)
class Progress:
    """What a callback learns of a step.

    ``rows`` [n] are the photos still at work (positions in the list that was given), ``losses`` their unweighted
    losses [n] by name, as far as measured on this step; ``images`` [n,3,R,R] on every n-th step, else None.
    ``step`` counts from 1 over all stages up to ``steps``; ``completed`` counts the steps of all photos together, up to
    ``steps`` times their number.
    """

    step: int
    steps: int
    stage: Stage
    rows: tuple[int, ...]
    losses: dict[str, Tensor]
    images: Tensor | None = None
    completed: int = 0


Callback = Callable[[Progress], object]


@dataclass(frozen=True)
class Stretch:
    """Where a stage lies in the whole: name, first step, steps, steps of all stages, and how many photos."""

    stage: Stage
    first: int
    steps: int
    total: int
    photos: int


@dataclass(frozen=True)
class _Pass:
    """Rows that go through the networks together; the last row is repeated until there are as many as in any pass."""

    rows: Tensor
    real: int
    objective: Objective


class Descent:
    """One stage of optimisation: ``K`` = 1 moves one w for all layers (``pivot`` from the encoder's on, ``w`` from
    anywhere, shaken at first), ``K`` = L moves W+ and the noise."""

    def __init__(
        self, generator: Any, objective: Objective, space: LatentSpace, maps: NoiseMaps, config: InversionConfig
    ) -> None:
        self.generator = generator
        self.objective = objective
        self.space = space
        self.maps = maps
        self.config = config

    def run(
        self, u: Tensor, noise: Tensor, stretch: Stretch, *, seeds: Sequence[int], callback: Callback | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Descend from coordinates ``u`` [N,K,D] and ``noise`` [N,P].

        Returns the coordinates, the noise, and how many steps each photo took [N].
        """
        config, wide = self.config, stretch.stage == "w+"
        moves_noise = wide and config.optimize_noise and self.maps.size > 0
        result_u, result_noise = u.clone(), noise.clone()
        taken = torch.zeros(len(u), dtype=torch.long)
        if not stretch.steps or not len(u):
            return result_u, result_noise, taken
        schedule = Schedule(
            len(u), stretch.steps, ramp_up=config.ramp_up, ramp_down=config.ramp_down,
            patience=config.patience if wide else 0, min_gain=config.min_gain,
        )  # fmt: skip
        variables = [u.clone(), noise.clone()] if moves_noise else [u.clone()]
        rates = {"pivot": config.pivot_learning_rate, "w": config.w_learning_rate, "w+": config.learning_rate}
        speeds = [rates[stretch.stage], config.noise_learning_rate]
        pull = config.pivot_weight if stretch.stage == "pivot" else 0.0
        adam = RowAdam(variables)
        rows = torch.arange(len(u))
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        objective = self.objective
        passes = self._passes(objective, len(u))
        for step in range(stretch.steps):
            judge = step % config.judge_every == 0
            shaken = stretch.stage == "w"
            jitter = self._jitter(streams, rows, step / stretch.steps, variables[0]) if shaken else None
            fixed = noise[rows.to(noise.device)]
            gradients, losses, image = self._differentiate(passes, variables, fixed, jitter, judge, pull)
            factor = schedule.rates(step).to(u.device)
            adam.step(variables, gradients, [speed * factor for speed in speeds[: len(variables)]])
            if moves_noise:
                self.maps.normalize_(variables[1])
            if judge:
                schedule.observe(step, objective.total(losses))
            if callback is not None:
                self._report(callback, stretch, step, rows, losses, image)
            done = schedule.finished(step)
            if bool(done.any()):
                ended = rows[done]
                taken[ended] = step + 1
                result_u[ended] = variables[0][done]
                if moves_noise:
                    result_noise[ended] = variables[1][done]
                keep = (~done).nonzero()[:, 0]
                if not len(keep):
                    break
                rows, objective = rows[keep], objective.take(keep)
                passes = self._passes(objective, len(rows))
                variables = [variable[keep] for variable in variables]
                adam.take(keep)
                schedule.take(keep)
        return result_u, result_noise, taken

    def _passes(self, objective: Objective, count: int) -> list[_Pass]:
        size = self.config.pass_size
        passes = []
        for rows in torch.arange(count).split(size):
            filled = torch.cat([rows, rows[-1:].expand(size - len(rows))])
            whole = torch.equal(filled, torch.arange(count))
            passes.append(_Pass(filled, len(rows), objective if whole else objective.take(filled)))
        return passes

    def _differentiate(
        self,
        passes: Sequence[_Pass],
        variables: list[Tensor],
        fixed: Tensor,
        jitter: Tensor | None,
        judge: bool,
        pull: float,
    ) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
        """Gradients per variable, losses, and images of all rows, pass by pass."""
        parts = []
        for part in passes:
            chosen = [variable[part.rows] for variable in variables]
            shake = None if jitter is None else jitter[part.rows]
            gradients, losses, image = self._differentiate_pass(
                part.objective, chosen, fixed[part.rows], shake, judge, pull
            )
            real = part.real
            parts.append(
                ([g[:real] for g in gradients], {name: value[:real] for name, value in losses.items()}, image[:real])
            )
        if len(parts) == 1:
            return parts[0]
        gradients = [torch.cat([part[0][i] for part in parts]) for i in range(len(variables))]
        losses = {name: torch.cat([part[1][name] for part in parts]) for name in parts[0][1]}
        return gradients, losses, torch.cat([part[2] for part in parts])

    def _differentiate_pass(
        self,
        objective: Objective,
        variables: list[Tensor],
        fixed: Tensor,
        jitter: Tensor | None,
        judge: bool,
        pull: float,
    ) -> tuple[Sequence[Tensor], dict[str, Tensor], Tensor]:
        """Gradients of the sum over rows: a sum leaves every row what it would be alone."""
        config = self.config
        leaves = [variable.detach().requires_grad_() for variable in variables]
        u = leaves[0] if jitter is None else leaves[0] + jitter
        noise = leaves[1] if len(leaves) > 1 else fixed
        image = self.render(u, noise)
        losses = objective(image, judge=judge)
        total = objective.total(losses, every=config.judge_every).sum() + pull * u.square().mean(dim=(1, 2)).sum()
        if u.shape[1] > 1:
            spread = (u - u.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2))
            total = total + config.spread_weight * spread.sum() + config.average_weight * u.square().mean((1, 2)).sum()
        if len(leaves) > 1:
            total = total + config.noise_weight * self.maps.regularity(noise).sum()
        gradients = torch.autograd.grad(total, leaves)
        return gradients, {name: value.detach() for name, value in losses.items()}, image.detach()

    def render(self, u: Tensor, noise: Tensor) -> Tensor:
        """Images [N,3,R,R] at the coordinates ``u`` [N,K,D] with ``noise`` [N,P]."""
        ws = self.space.to_ws(u)
        if ws.shape[1] == 1:
            ws = ws.expand(-1, self.generator.num_ws, -1)
        return self.generator.synthesis(ws, noise_mode="const", noise=self.maps.unpack(noise))

    def _jitter(self, streams: Sequence[torch.Generator], rows: Tensor, share: float, like: Tensor) -> Tensor:
        """Noise on w that fades over the first three quarters (Karras et al. 2020, appendix D), per photo's stream."""
        strength = self.config.jitter * max(0.0, 1 - share / 0.75) ** 2
        draws = [torch.randn(like.shape[1:], generator=streams[row]) for row in rows.tolist()]
        return strength * torch.stack(draws).to(like.device)

    def _report(
        self, callback: Callback, stretch: Stretch, step: int, rows: Tensor, losses: dict[str, Tensor], image: Tensor
    ) -> None:
        number = stretch.first + step + 1
        every = self.config.image_every
        shown = image if every and (number % every == 0 or number == stretch.total) else None
        callback(
            Progress(number, stretch.total, stretch.stage, tuple(rows.tolist()), losses, shown, number * stretch.photos)
        )
