"""Layers of a MobileStyleGAN by its authors' names and ours.

Both readers bring a network into one form, `Folded`: demodulation and noise strength as they act, one entry per layer.
Our channels that take a wavelet step come in four blocks (LL, LH, HL, HH); theirs are LL, then triples of details.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from latentedit.checkpoints.checkpoint import Part, State, not_understood
from latentedit.checkpoints.mobile.average import average_latent
from latentedit.networks.mobilestylegan import MobileStyleGANConfig

LR_MULTIPLIER = 0.01
NETWORK = "MobileStyleGANGenerator"


@dataclass
class Folded:
    """A network by its authors' layers (``conv1``, ``layers.0.up``, ``layers.0.conv1``, ..., ``to_img``).

    ``const`` is [C,4,4]. A layer has ``affine.weight``, ``affine.bias``; all but ``up`` ``bias`` [O] and ``weight``
    (dense [O,C,3,3] or [O,C]); those with noise ``noise_strength`` [], ``noise_const`` [r,r]; separable ones
    ``depthwise`` [C,1,3,3]. ``mapping`` has NVIDIA's names, scaled as with a learning-rate multiplier of 0.01.
    """

    const: Tensor
    layers: dict[str, State]
    mapping: State = field(default_factory=dict)


def layer_names(levels: int) -> Iterator[tuple[str, str, bool, bool]]:
    """Their name and ours of every layer of a network with ``levels`` levels above 4 px, in order.

    The flags say whether its input is wavelet coefficients, and whether its output is.
    """
    yield "conv1", "b4.conv1", False, levels > 0
    for level in range(levels):
        theirs, ours = f"layers.{level}", f"b{8 << level}"
        yield f"{theirs}.up", f"{ours}.up", True, False
        yield f"{theirs}.conv1", f"{ours}.conv0", False, False
        yield f"{theirs}.conv2", f"{ours}.conv1", False, level < levels - 1
    yield "to_img", "torgb", False, True


def block_order(count: int) -> Tensor:
    """For each of ``count`` channels in our order, its place in theirs."""
    low = count // 4
    details = low + torch.arange(3 * low).reshape(low, 3).t().reshape(-1)
    return torch.cat([torch.arange(low), details])


def to_part(network: Folded, origin: str) -> Part:
    """The network in our terms.

    Raises:
        ModelError: layers are missing, or their shapes belong to no such network.
    """
    levels = sum(name.endswith(".up") for name in network.layers)
    state: State = dict(network.mapping)
    try:
        state["synthesis.b4.const"] = network.const
        for theirs, ours, takes, gives in layer_names(levels):
            for leaf, value in network.layers[theirs].items():
                state[f"synthesis.{ours}.{leaf}".replace(".up.affine", ".up")] = _reordered(leaf, value, takes, gives)
        config = _config(network, levels)
        if "mapping.w_avg" not in state:
            state["mapping.w_avg"] = average_latent(state, config.mapping_layers, LR_MULTIPLIER)
    except (KeyError, IndexError, RuntimeError, ValueError, TypeError) as error:
        raise not_understood(origin, f"its layers do not fit together ({type(error).__name__}: {error})") from error
    return Part(NETWORK, config, state)


def _reordered(leaf: str, value: Tensor, takes: bool, gives: bool) -> Tensor:
    """``value`` with its channels in our order, where they are wavelet coefficients."""
    if (takes and leaf.startswith("affine")) or (gives and leaf in ("weight", "bias")):
        return value[block_order(len(value))].contiguous()
    return value.contiguous()


def _config(network: Folded, levels: int) -> MobileStyleGANConfig:
    count = sum(re.fullmatch(r"mapping\.fc\d+\.weight", name) is not None for name in network.mapping)
    first, last = network.mapping["mapping.fc0.weight"], network.mapping[f"mapping.fc{count - 1}.weight"]
    outputs = ["conv1", *(f"layers.{level}.conv2" for level in range(levels))]
    return MobileStyleGANConfig(
        channels=tuple(len(network.layers[name]["bias"]) for name in outputs),
        img_channels=len(network.layers["to_img"]["bias"]) // 4,
        z_dim=first.shape[1],
        w_dim=last.shape[0],
        mapping_layers=count,
        mapping_features=first.shape[0] if first.shape[0] != last.shape[0] else None,
        mapping_lr_multiplier=LR_MULTIPLIER,
    )


def to_folded(state: State, levels: int) -> Folded:
    """The way back: our state dict by the authors' layers."""
    layers: dict[str, State] = {}
    for theirs, ours, takes, gives in layer_names(levels):
        prefix = f"synthesis.{ours}."
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if theirs.endswith(".up"):
            own = {f"affine.{leaf}": value for leaf, value in own.items()}
        layers[theirs] = {leaf: _restored(leaf, value, takes, gives) for leaf, value in own.items()}
    mapping = {name: value for name, value in state.items() if name.startswith("mapping.")}
    return Folded(state["synthesis.b4.const"], layers, mapping)


def _restored(leaf: str, value: Tensor, takes: bool, gives: bool) -> Tensor:
    if (takes and leaf.startswith("affine")) or (gives and leaf in ("weight", "bias")):
        return value[block_order(len(value)).argsort()].contiguous()
    return value
