"""Refinement of the generator itself for one photo, by low-rank changes of its convolutions.

In the spirit of pivotal tuning (Roich et al. 2022, eq. 2): latent and noise stay as they are, and the weights move. A
low rank (Hu et al. 2022, eq. 3) keeps the change small, a few hundred kilobytes, so that edits still work.
Legend: ``O`` output channels, ``F`` fan-in, ``q`` rank, ``R`` resolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentedit.codes import Code, WeightDelta
from latentedit.codes.delta import changed_weights
from latentedit.errors import ModelError
from latentedit.inversion.loop import descend
from latentedit.inversion.problem import Plan, Problem, Stage
from latentedit.networks.variant import with_weights

_COARSE = 16
"""Pixels a side below which layers set pose and shape, which are the latent's to say; small generators have fewer."""


@dataclass(frozen=True)
class _Weights:
    """Factors of the changes; the picture is drawn by a variant of the synthesis network that nobody else sees."""

    problem: Problem
    weights: Mapping[str, Tensor]
    code: Code

    @property
    def speeds(self) -> Sequence[float]:
        rate = self.problem.config.weight_learning_rate
        return [speed for weight in self.weights.values() for speed in (rate, rate * _unit(weight))]

    def variables(self) -> list[Tensor]:
        rank = self.problem.config.weight_rank
        return [factor for weight in self.weights.values() for factor in _initial(weight, rank)]

    def delta(self, variables: Sequence[Tensor]) -> WeightDelta:
        """Variables in order as pairs of factors by name."""
        pairs = zip(variables[::2], variables[1::2], strict=True)
        return dict(zip(self.weights, pairs, strict=True))

    def draw(self, leaves: Sequence[Tensor], step: int) -> Tensor:
        variant = with_weights(self.problem.generator.synthesis, changed_weights(self.weights, self.delta(leaves)))
        return variant(self.code.ws, noise_mode="const", noise=self.code.noise)

    def pull(self, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        return ()

    def settle(self, variables: Sequence[Tensor]) -> None:
        pass


def refined(problem: Problem, code: Code, noise: Tensor, plan: Plan) -> Code:
    """``code`` of one row with a weight change that brings its image closer, found in ``plan.weights`` steps.

    ``noise`` [1,P] is what the image is drawn with meanwhile. Without steps the code stays as it is.

    Raises:
        ModelError: the generator says of no weight that it can be refined.
    """
    if not plan.weights:
        return code
    smallest = min(_COARSE, problem.target.shape[-1] // 4)
    synthesis = problem.generator.synthesis
    names = [name for name, side in synthesis.refinable_weights().items() if side >= smallest]
    if not names:
        raise ModelError("refine='weights' knows no convolution of this generator.", "Use refine='none'.")
    weights = {name: synthesis.get_parameter(name).detach() for name in names}
    fixed = replace(code, noise=problem.bench.maps.unpack(noise))
    moves = _Weights(problem, weights, fixed)
    variables = moves.variables()
    descend(problem, Stage("weights", plan.latent, plan.weights, plan.total), variables, moves)
    return replace(code, deltas=(moves.delta(variables),))


def _unit(weight: Tensor) -> float:
    """The power of two nearest to the weight's standard deviation.

    Networks that scale their weights at run time keep them at 1, others at a twentieth of it: steps count in this unit.
    """
    return 2.0 ** round(math.log2(max(float(weight.std()), 1e-12)))


def _initial(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors whose product is 0: the left one zero, the right one drawn always alike, at the weight's own scale.

    Where the weight is so small that ``rank`` is full, the factors reach every change of it.
    """
    width = weight[0].numel()
    rank = min(rank, len(weight), width)
    stream = torch.Generator().manual_seed(width)
    right = torch.randn(rank, width, generator=stream).to(weight) * weight.std()
    return weight.new_zeros(len(weight), rank), right
