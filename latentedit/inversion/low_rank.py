"""Refinement of the generator itself for one photo, by low-rank changes of its convolutions.

In the spirit of pivotal tuning (Roich et al. 2022, eq. 2): latent and noise stay as they are, and the weights move. A
low rank (Hu et al. 2022, eq. 3) keeps the change small, a few hundred kilobytes, so that edits still work.
Legend: ``O``/``I`` output/input channels, ``k`` kernel size, ``q`` rank.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latentedit.errors import ModelError
from latentedit.inversion.adam import RowAdam
from latentedit.inversion.config import InversionConfig
from latentedit.inversion.losses import Objective
from latentedit.inversion.schedule import Schedule

if TYPE_CHECKING:
    from latentedit.inversion.descent import Callback, Stretch

_LEFT_ALONE = ("torgb", "skip")
_COARSE = 16
"""Pixels a side below which layers set pose and shape, which are the latent's to say; small generators have fewer."""

WeightDelta = dict[str, tuple[Tensor, Tensor]]
"""Name of a convolution's weight in ``synthesis`` -> factors [O,q] and [q,I*k*k] whose product is added to it."""


def refine_weights(
    generator: Any,
    objective: Objective,
    ws: Tensor,
    noise: Mapping[str, Tensor],
    stretch: Stretch,
    config: InversionConfig,
    callback: Callback | None,
    row: Tensor,
) -> WeightDelta:
    """Low-rank changes that bring the image of ``ws`` [1,L,D] with ``noise`` closer to the objective's one target."""
    from latentedit.inversion.descent import Progress

    synthesis = generator.synthesis
    weights = {
        name: parameter.detach()
        for name, parameter in synthesis.named_parameters()
        if parameter.ndim == 4
        and name.endswith(".weight")
        and not any(part in name for part in _LEFT_ALONE)
        and _input_side(name, objective.target.shape[-1]) >= min(_COARSE, objective.target.shape[-1] // 4)
    }
    if not weights:
        raise ModelError("refine='weights' knows no convolution of this generator.", "Use refine=None.")
    delta = {name: _initial(weight, config.weight_rank) for name, weight in weights.items()}
    variables = [factor[None] for pair in delta.values() for factor in pair]
    adam = RowAdam(variables)
    schedule = Schedule(1, stretch.steps, ramp_up=config.ramp_up, ramp_down=config.ramp_down, patience=0, min_gain=0)
    for step in range(stretch.steps):
        leaves = [variable.detach().requires_grad_() for variable in variables]
        image = _render(synthesis, weights, _pairs(weights, leaves), ws, noise)
        losses = objective(image, judge=step % config.judge_every == 0)
        total = objective.total(losses, every=config.judge_every).sum()
        rate = config.weight_learning_rate * schedule.rates(step).to(image.device)
        adam.step(variables, torch.autograd.grad(total, leaves), [rate] * len(variables))
        if callback is not None:
            number = stretch.first + step + 1
            shown = image.detach() if config.image_every and number % config.image_every == 0 else None
            measured = {name: value.detach() for name, value in losses.items()}
            completed = stretch.first * stretch.photos + int(row) * stretch.steps + step + 1
            callback(Progress(number, stretch.total, "weights", (int(row),), measured, shown, completed))
    return _pairs(weights, variables)


def adapt(generator: Any, delta: Mapping[str, tuple[Tensor, Tensor]]) -> nn.Module:
    """A copy of ``generator`` with ``delta`` added to its weights; the generator itself where there is none.

    Only the changed weights are copied; all others are shared.

    Raises:
        ModelError: the delta is of another generator.
    """
    if not delta:
        return generator
    shared: dict[int, Any] = {id(tensor): tensor for tensor in [*generator.parameters(), *generator.buffers()]}
    adapted = copy.deepcopy(generator, shared)
    parameters = dict(adapted.synthesis.named_parameters())
    for name, (left, right) in delta.items():
        weight = parameters.get(name)
        if weight is None or weight.shape[0] != left.shape[0] or weight[0].numel() != right.shape[1]:
            raise ModelError(
                f"A weight delta for {name!r} does not fit this generator.", "Use the one it was made with."
            )
        owner = adapted.synthesis.get_submodule(name.rpartition(".")[0])
        changed = weight.detach() + (left.to(weight) @ right.to(weight)).view_as(weight)
        owner._parameters["weight"] = nn.Parameter(changed, requires_grad=False)
    return adapted


def _input_side(name: str, resolution: int) -> int:
    """Pixels a side that the convolution ``b<r>.conv<0|1>.weight`` reads; ``resolution`` for names of other kinds."""
    match = re.fullmatch(r"b(\d+)\.conv([01])\.weight", name)
    if match is None:
        return resolution
    side = int(match[1])
    return side // 2 if match[2] == "0" else side


def _initial(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors whose product is 0: the left one zero, the right one drawn always alike, at the weight's own scale."""
    width = weight[0].numel()
    stream = torch.Generator().manual_seed(width)
    right = torch.randn(rank, width, generator=stream).to(weight) * weight.std()
    return weight.new_zeros(len(weight), rank), right


def _pairs(weights: Mapping[str, Tensor], variables: list[Tensor]) -> WeightDelta:
    """Variables [1, ...] in order, as pairs of factors by name."""
    return {
        name: (left[0], right[0]) for name, left, right in zip(weights, variables[::2], variables[1::2], strict=True)
    }


def _render(
    synthesis: Any, weights: Mapping[str, Tensor], delta: WeightDelta, ws: Tensor, noise: Mapping[str, Tensor]
) -> Tensor:
    changed = {name: weights[name] + (left @ right).view_as(weights[name]) for name, (left, right) in delta.items()}
    return torch.func.functional_call(synthesis, changed, (ws,), {"noise_mode": "const", "noise": noise})
