"""Variants of a network: some of its weights replaced, the network itself untouched."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

_M = TypeVar("_M", bound=nn.Module)


def with_weights(network: _M, weights: Mapping[str, Tensor]) -> _M:
    """A copy of ``network`` whose parameters of the given names are the tensors ``weights``; all else is shared.

    Only the modules on the way to those parameters are copied, and no tensor is. Gradients flow into ``weights`` where
    they ask for them. The network is never written to, so that other threads may go on using it.

    Raises:
        KeyError: no parameter of that name.
    """
    own: dict[str, Tensor] = {}
    below: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        head, _, rest = name.partition(".")
        if rest:
            below.setdefault(head, {})[rest] = tensor
        else:
            own[head] = tensor
    variant = copy.copy(network)
    parameters, children = dict(network._parameters), dict(network._modules)
    for name, tensor in own.items():
        if parameters.get(name) is None:
            raise KeyError(name)
        parameters[name] = tensor  # type: ignore[assignment]  # a plain tensor: part of a graph, and of no optimiser
    for name, inner in below.items():
        child = children.get(name)
        if child is None:
            raise KeyError(f"{name}.{next(iter(inner))}")
        children[name] = with_weights(child, inner)
    variant.__dict__["_parameters"], variant.__dict__["_modules"] = parameters, children
    return variant
