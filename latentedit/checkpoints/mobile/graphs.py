"""The exported graphs of a MobileStyleGAN: a mapping and a synthesis network in OpenVINO's IR.

Most constants are known by name. The exporter folded others, which are found by the nodes that they feed: weights that
took in their demodulation, noise maps that took in their strength.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint, State
from latentedit.checkpoints.mobile.names import LR_MULTIPLIER, Folded, to_part
from latentedit.checkpoints.mobile.openvino import Graph, Layer

_CONST = "m.input.input"
MAX_MAPPING_LAYERS = 64


def is_synthesis(graph: Graph) -> bool:
    """Whether ``graph`` is a synthesis network of this kind."""
    return any(layer.name == _CONST for layer in graph.of_kind("Const"))


def is_mapping(graph: Graph) -> bool:
    """Whether ``graph`` may be a mapping network: matrix products, and no convolution."""
    return any(graph.of_kind("MatMul")) and not any(graph.of_kind("Convolution"))


def read_graphs(mapping: Graph, synthesis: Graph) -> Checkpoint:
    """The generator in the two graphs.

    Raises:
        ModelError: they are not those of a MobileStyleGAN, or damaged.
    """
    network = _Synthesis(synthesis).folded()
    network.mapping.update(_mapping(mapping))
    notes = ("w_avg is the mean over 10,000 seeded latents, as the file has none",)
    return Checkpoint("OpenVINO IR, MobileStyleGAN", to_part(network, synthesis.origin), notes=notes)


def _tensor(value: np.ndarray | np.floating) -> Tensor:
    with np.errstate(over="ignore"):  # damaged numbers are refused when the generator is put together
        return torch.from_numpy(np.array(value, dtype=np.float32))


def _mapping(graph: Graph) -> State:
    """The mapping network by NVIDIA's names: the graph has the weights as they act."""
    products = list(graph.of_kind("MatMul"))
    if len(products) > MAX_MAPPING_LAYERS:
        raise graph.damaged(f"its mapping network has {len(products)} layers")
    state: State = {}
    for i, product in enumerate(products):
        weight = graph.value(graph.operand(product)).astype(np.float64)
        addition = graph.reader(product, "Add")
        bias = graph.value(graph.operand(addition)).astype(np.float64).reshape(-1)
        activation = graph.reader(addition, "PReLU")
        _check_scalar(graph, activation, 0.2)
        _check_scalar(graph, graph.reader(activation, "Multiply"), 2**0.5)
        if weight.ndim != 2 or product.data.get("transpose_b") != "true":
            raise graph.damaged("a matrix of its mapping network has another form")
        state[f"mapping.fc{i}.weight"] = _tensor(weight * (math.sqrt(weight.shape[1]) / LR_MULTIPLIER))
        state[f"mapping.fc{i}.bias"] = _tensor(bias / LR_MULTIPLIER)
    return state


def _check_scalar(graph: Graph, layer: Layer, expected: float) -> None:
    """Refuse networks that compute something else with the same names."""
    value = graph.value(graph.operand(layer)).reshape(-1)
    if not np.allclose(value, expected, rtol=1e-5):
        raise graph.damaged(f"{layer.name!r:.60} works with {value[:1]}, where this network has {expected:.6g}")


class _Synthesis:
    """Reads the constants of a synthesis graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.named = {layer.name: layer for layer in graph.of_kind("Const")}

    def folded(self) -> Folded:
        const = self.value(_CONST)
        if const.ndim != 4:
            raise self.graph.damaged(f"its learnt constant has shape {list(const.shape)}")
        layers = {"conv1": self.dense()}
        level = 0
        while f"m.layers.{level}.up.modulation.weight" in self.named:
            layers[f"layers.{level}.up"] = self.affine(f"m.layers.{level}.up")
            for conv in ("conv1", "conv2"):
                layers[f"layers.{level}.{conv}"] = self.separable(f"m.layers.{level}.{conv}")
            level += 1
        layers["to_img"] = self.head(f"m.layers.{level - 1}.to_img")
        return Folded(_tensor(const[0]), layers)

    def dense(self) -> State:
        """The layer at 4 px, the one whose convolution reads no depthwise one."""
        convolution = next(self.graph.of_kind("Convolution"), None)
        if convolution is None:
            raise self.graph.damaged("it has no convolution")
        weight = self.graph.value(self.graph.operand(convolution))
        return {"weight": _tensor(weight), **self.styled("m.conv1", convolution, weight.shape[1])}

    def separable(self, name: str) -> State:
        named = self.layer(f"{name}.conv.weight_dw")
        depthwise = self.graph.value(named)
        if depthwise.ndim != 5:
            raise self.graph.damaged(f"{named.name} has shape {list(depthwise.shape)}")
        convolution = self.graph.reader(self.graph.reader(named, "GroupConvolution"), "Convolution")
        weight = self.graph.value(self.graph.operand(convolution))
        if weight.shape[2:] != (1, 1):
            raise self.graph.damaged(f"the pointwise kernel of {name} has shape {list(weight.shape)}")
        common = self.styled(name, convolution, len(depthwise))
        return {"depthwise": _tensor(depthwise[:, 0]), "weight": _tensor(weight[:, :, 0, 0]), **common}

    def styled(self, name: str, convolution: Layer, channels: int) -> State:
        """Affine map, bias and noise of the layer ``name`` around ``convolution``."""
        noisy = self.graph.reader(convolution, "Add")
        noise = self.graph.value(self.graph.operand(noisy)).astype(np.float64)
        if noise.ndim != 4:
            raise self.graph.damaged(f"the noise of {name} has shape {list(noise.shape)}")
        _check_scalar(self.graph, self.graph.reader(self.graph.reader(noisy, "Add"), "PReLU"), 0.2)
        strength = np.sqrt(np.square(noise).mean())  # of unit noise, so that fresh noise can be drawn as strong
        return {
            **self.affine(f"{name}.conv", (9 * channels) ** -0.5),
            "bias": _tensor(self.value(f"{name}.bias").reshape(-1)),
            "noise_strength": _tensor(strength),
            "noise_const": _tensor(noise[0, 0] / (strength if strength > 0 else 1)),
        }

    def head(self, name: str) -> State:
        weight = self.value(f"{name}.conv.weight")
        if weight.shape[2:] != (1, 1):
            raise self.graph.damaged(f"the kernel of {name} has shape {list(weight.shape)}")
        bias = self.value(f"{name}.bias").reshape(-1)
        affine = self.affine(f"{name}.conv", weight.shape[1] ** -0.5)
        return {**affine, "weight": _tensor(weight[:, :, 0, 0]), "bias": _tensor(bias)}

    def affine(self, name: str, gain: float | None = None) -> State:
        """The map from w to styles; ``gain`` is what our layer multiplies its result by, None for nothing."""
        weight, bias = (self.layer(f"{name}.modulation.{leaf}") for leaf in ("weight", "bias"))
        ratio = 1.0 if gain is None else self.scale_after(weight) / gain
        ratio = 1.0 if abs(ratio - 1) < 1e-6 else ratio
        return {
            "affine.weight": _tensor(self.graph.value(weight) * ratio),
            "affine.bias": _tensor(self.graph.value(bias).reshape(-1) * ratio),
        }

    def scale_after(self, weight: Layer) -> float:
        """The scalar that the graph multiplies the styles by."""
        added = self.graph.reader(self.graph.reader(weight, "MatMul"), "Add")
        scaled = self.graph.reader(self.graph.reader(added, "Reshape"), "Multiply")
        value = self.graph.value(self.graph.operand(scaled))
        if value.size != 1:
            raise self.graph.damaged(f"the styles of {weight.name} are not scaled by a number")
        return float(value.reshape(-1)[0])

    def layer(self, name: str) -> Layer:
        if name not in self.named:
            raise self.graph.damaged(f"it has no constant {name!r}")
        return self.named[name]

    def value(self, name: str) -> np.ndarray:
        return self.graph.value(self.layer(name))
