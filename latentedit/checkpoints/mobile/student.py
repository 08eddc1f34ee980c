"""The checkpoint that MobileStyleGAN's authors train and publish: a state dict with ``student.`` and ``mapping_net.``.

It holds what acts in parts: a layer's weight, its demodulation (which depends on stored statistics ``style_inv``, not
on the style), and the strength of noise that is drawn afresh in every run.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from latentedit.checkpoints.checkpoint import Checkpoint, State, TensorReader, not_understood
from latentedit.checkpoints.mobile.names import LR_MULTIPLIER, NETWORK, Folded, layer_names, to_folded, to_part
from latentedit.errors import ModelError

_EPSILON = 1e-8
"""Under the root of the demodulation."""
MAX_LEVELS = 11


def is_student(keys: object) -> bool:
    """Whether the keys of a state dict are those of this checkpoint."""
    return isinstance(keys, dict) and "student.input.input" in keys and "student.conv1.conv.weight" in keys


def read_student(values: dict[Any, Any], read: TensorReader) -> Checkpoint:
    """The generator in the state dict ``values``; the teacher, losses and inner heads beside it are not read.

    Raises:
        ModelError: parts are missing, or it is a later variant of the network.
    """
    theirs = read.all(values, "student.")
    levels = sum(f"layers.{level}.conv1.conv.weight_dw" in theirs for level in range(MAX_LEVELS + 1))
    if levels > 0 and "layers.0.up.modulation.weight" not in theirs:
        raise not_understood(read.origin, "it is a later MobileStyleGAN whose wavelet step has no styles")
    mapping = _mapping(read.all(values, "mapping_net.layers."), read.origin)
    notes = []
    if "style_mean" in values:
        mapping["mapping.w_avg"] = read(values["style_mean"], "style_mean").reshape(-1, _width(mapping, read.origin))[0]
    else:
        notes.append("the file has no style_mean; w_avg is the mean over 10,000 seeded latents")
    try:
        const = theirs["input.input"][0]
        layers = {name: _layer(theirs, name, levels) for name, *_ in layer_names(levels)}
    except (KeyError, IndexError, RuntimeError, ValueError, TypeError) as error:
        raise not_understood(
            read.origin, f"its layers do not fit together ({type(error).__name__}: {error})"
        ) from error
    if _draw_noise(layers):
        notes.append("the file has no noise maps; they were drawn from seed 0")
    if any(re.fullmatch(r"to_img1\..+|layers\.\d+\.to_img\..+", name) for name in theirs if not _is_last(name, levels)):
        notes.append("the heads of its inner levels were left out")
    part = to_part(Folded(const, layers, mapping), read.origin)
    return Checkpoint("MobileStyleGAN checkpoint", part, notes=tuple(notes))


def _is_last(name: str, levels: int) -> bool:
    return name.startswith(f"layers.{levels - 1}.to_img.")


def _mapping(theirs: State, origin: str) -> State:
    """``{i+1}.weight`` to ``mapping.fc{i}.weight``: the numbers are NVIDIA's already."""
    state: State = {}
    for name, value in theirs.items():
        match = re.fullmatch(r"(\d{1,3})\.(weight|bias)", name)
        if match is None or int(match[1]) == 0:
            raise not_understood(origin, f"the key 'mapping_net.layers.{name:.60}' is unknown")
        state[f"mapping.fc{int(match[1]) - 1}.{match[2]}"] = value
    return state


def _width(mapping: State, origin: str) -> int:
    last = f"mapping.fc{sum(name.endswith('weight') for name in mapping) - 1}.bias"
    if last not in mapping or mapping[last].ndim != 1 or len(mapping[last]) == 0:
        raise not_understood(origin, "its mapping network is missing or has gaps")
    return len(mapping[last])


def _layer(theirs: State, name: str, levels: int) -> State:
    """The layer ``name``, folded."""
    if name.endswith(".up"):
        return _affine(theirs, name)
    if name == "to_img":
        head = f"layers.{levels - 1}.to_img"
        weight = theirs[f"{head}.conv.weight"][:, :, 0, 0]
        return {**_affine(theirs, f"{head}.conv"), "weight": weight, "bias": theirs[f"{head}.bias"].reshape(-1)}
    conv = f"{name}.conv"
    separable = f"{conv}.weight_dw" in theirs
    layer = _affine(theirs, conv)
    if separable:
        layer["depthwise"] = theirs[f"{conv}.weight_dw"]
    weight = theirs[f"{conv}.weight_permute" if separable else f"{conv}.weight"]
    energy = weight.double().square().sum((2, 3))
    if separable:
        energy *= layer["depthwise"].double().square().sum((1, 2, 3))
    statistics = theirs[f"{conv}.style_inv"].double().reshape(-1) * (9 * weight.shape[1]) ** -0.5
    norm = (energy @ statistics.square() + _EPSILON).rsqrt()
    folded = (weight.double() * norm[:, None, None, None]).float()
    layer["weight"] = folded[:, :, 0, 0] if separable else folded
    layer["bias"] = theirs[f"{name}.bias"].reshape(-1)
    layer["noise_strength"] = theirs[f"{name}.noise.weight"].reshape([])
    if f"{name}.noise.noise" in theirs:
        layer["noise_const"] = theirs[f"{name}.noise.noise"][0, 0]
    return layer


def _affine(theirs: State, name: str) -> State:
    return {f"affine.{leaf}": theirs[f"{name}.modulation.{leaf}"] for leaf in ("weight", "bias")}


def _draw_noise(layers: dict[str, State]) -> bool:
    """Give layers without a noise map one of seed 0, in their order; whether there were any."""
    random = np.random.RandomState(0)
    drawn = False
    for name, layer in layers.items():
        if "noise_strength" in layer and "noise_const" not in layer:
            r = 4 if name == "conv1" else 8 << int(name.split(".")[1])
            layer["noise_const"] = torch.from_numpy(random.standard_normal((r, r)).astype(np.float32))
            drawn = True
    return drawn


def to_student(generator: torch.nn.Module) -> dict[str, State]:
    """``{"state_dict": ...}`` as the authors' tools load it, for a generator of this family.

    Weights stay folded: with ``style_inv`` of zero their demodulation is the constant 1e4, which the weights take out.
    Noise maps go along under the name that their exporter uses. Heads of inner levels, which only training needs, are
    not there.

    Raises:
        ModelError: a generator of another family, or a mapping network with another learning-rate multiplier.
    """
    config = getattr(generator, "config", None)
    if type(generator).__name__ != NETWORK or config is None or config.mapping_lr_multiplier != LR_MULTIPLIER:
        raise ModelError("This format knows MobileStyleGAN generators only.", "Write latentedit's own format.")
    state = {name: value.detach().cpu().float() for name, value in generator.state_dict().items()}
    levels = len(config.channels) - 1
    network = to_folded(state, levels)
    theirs: State = {"student.input.input": network.const[None]}
    for name, layer in network.layers.items():
        head = f"layers.{levels - 1}.to_img" if name == "to_img" else name
        theirs |= {f"student.{head}.{leaf}": value.contiguous() for leaf, value in _unfolded(name, layer).items()}
    for name, value in network.mapping.items():
        if name != "mapping.w_avg":
            layer_name, leaf = name.split(".")[1:]
            theirs[f"mapping_net.layers.{int(layer_name[2:]) + 1}.{leaf}"] = value
    theirs["style_mean"] = network.mapping["mapping.w_avg"].expand(1, 3 * levels + 2, -1).clone()
    return {"state_dict": theirs}


def _unfolded(name: str, layer: State) -> State:
    """One layer by the authors' leaves."""
    inner = "" if name.endswith(".up") else "conv."
    theirs = {f"{inner}modulation.{leaf}": layer[f"affine.{leaf}"] for leaf in ("weight", "bias")}
    if "bias" not in layer:
        return theirs
    theirs["bias"] = layer["bias"].reshape(1, -1, 1, 1)
    if "noise_strength" not in layer:
        return {**theirs, "conv.weight": layer["weight"][:, :, None, None]}
    weight = layer["weight"] * _EPSILON**0.5
    theirs |= {"noise.weight": layer["noise_strength"].reshape(1), "noise.noise": layer["noise_const"][None, None]}
    theirs["conv.style_inv"] = torch.zeros(1, 1, weight.shape[1], 1, 1)
    if "depthwise" in layer:
        return {**theirs, "conv.weight_dw": layer["depthwise"], "conv.weight_permute": weight[:, :, None, None]}
    return {**theirs, "conv.weight": weight}
