"""Low-rank changes of a generator's weights: what an inversion found, and what lies between two of them.

Legend: ``O`` output channels, ``F`` fan-in (input channels times pixels of the kernel), ``q`` rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from latentedit.errors import ModelError
from latentedit.networks import StyleGenerator
from latentedit.networks.variant import with_weights

WeightDelta = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a weight in ``synthesis`` -> factors [O,q] and [q,F] whose product is added to it (Hu et al. 2022, eq. 3)."""


def adapted(generator: StyleGenerator, delta: WeightDelta) -> StyleGenerator:
    """A variant of ``generator`` with ``delta`` added to its weights; the generator itself where there is none.

    Only the changed weights are copied; all others are shared, and the generator is left as it is.

    Raises:
        ModelError: the delta is of another generator.
    """
    if not delta:
        return generator
    changed = changed_weights(originals(generator, delta), delta)
    # Parameters, not plain tensors: the kernels keep prepared forms of what is going to be used again.
    weights = {f"synthesis.{name}": nn.Parameter(weight, requires_grad=False) for name, weight in changed.items()}
    return with_weights(generator, weights)


def originals(generator: StyleGenerator, delta: WeightDelta) -> dict[str, Tensor]:
    """The weights that ``delta`` changes, as they are in ``generator``.

    Raises:
        ModelError: the delta is of another generator.
    """
    parameters = dict(generator.synthesis.named_parameters())
    found = {}
    for name, (left, right) in delta.items():
        weight = parameters.get(name)
        if weight is None or weight.shape[0] != left.shape[0] or weight[0].numel() != right.shape[1]:
            raise ModelError(
                f"A weight delta for {name!r} does not fit this generator.", "Use the one it was made with."
            )
        found[name] = weight.detach()
    return found


def changed_weights(weights: Mapping[str, Tensor], delta: WeightDelta) -> dict[str, Tensor]:
    """``weights`` [O, ...] by name plus the products of ``delta``, differentiable in the factors."""
    return {
        name: weights[name] + (left.to(weights[name]) @ right.to(weights[name])).view_as(weights[name])
        for name, (left, right) in delta.items()
    }


def blend_deltas(a: WeightDelta, b: WeightDelta, share: float) -> dict[str, tuple[Tensor, Tensor]]:
    """The weight change ``(1 - share) * a + share * b``; ranks add up."""
    blended = {}
    for name in {**a, **b}:
        parts = [(part[name], scale) for part, scale in ((a, 1 - share), (b, share)) if name in part and scale]
        if parts:
            left = torch.cat([factors[0] * scale for factors, scale in parts], dim=1)
            blended[name] = (left, torch.cat([factors[1] for factors, _ in parts], dim=0))
    return blended


def moved_deltas(deltas: Sequence[WeightDelta], device: torch.device) -> tuple[WeightDelta, ...]:
    """The same on ``device``."""
    return tuple(
        {name: (left.to(device), right.to(device)) for name, (left, right) in delta.items()} for delta in deltas
    )
