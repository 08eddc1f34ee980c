"""MobileStyleGAN checkpoints: the exported graphs (OpenVINO IR) to our names.

Our channels that take a wavelet step come in four blocks (LL, LH, HL, HH); theirs are LL, then triples of details.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from latentedit.checkpoints.checkpoint import Checkpoint, Part, State
from latentedit.checkpoints.openvino import Graph, Layer, read_graph
from latentedit.networks.mobilestylegan import MobileStyleGANConfig

AVERAGED = 10_000
"""Latents behind ``w_avg``: the mean of ``mapping(z)`` over ``RandomState(0).randn(10000, z_dim)``, in float64."""
LR_MULTIPLIER = 0.01
_GRID = 1 << 16
"""``w_avg`` is rounded to multiples of its inverse, so that it is the same to the bit on every machine."""


def is_synthesis(graph: Graph) -> bool:
    """Whether ``graph`` is the synthesis network."""
    return any(layer.name == "m.input.input" for layer in graph.of_kind("Const"))


def from_graphs(mapping: Graph, synthesis: Graph) -> Checkpoint:
    """The generator in the two graphs.

    Raises:
        ModelError: they are not those of a MobileStyleGAN.
    """
    state = _mapping_state(mapping)
    layers = sum(name.endswith("weight") for name in state)
    first, last = state["mapping.fc0.weight"], state[f"mapping.fc{layers - 1}.weight"]
    state["mapping.w_avg"] = average_latent(state, layers)
    synthesis_state, channels, img_channels = _Synthesis(synthesis).read()
    config = MobileStyleGANConfig(
        channels=channels,
        img_channels=img_channels,
        z_dim=first.shape[1],
        w_dim=last.shape[0],
        mapping_layers=layers,
        mapping_features=first.shape[0] if first.shape[0] != last.shape[0] else None,
        mapping_lr_multiplier=LR_MULTIPLIER,
    )
    part = Part("MobileStyleGANGenerator", config, state | synthesis_state)
    return Checkpoint("OpenVINO IR, MobileStyleGAN", part)


def average_latent(state: State, layers: int, count: int = AVERAGED) -> torch.Tensor:
    """``w_avg`` [w_dim] of a mapping network by NVIDIA's names (see ``AVERAGED``)."""
    z_dim = state["mapping.fc0.weight"].shape[1]
    x = np.random.RandomState(0).randn(count, z_dim)
    x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-8)
    for i in range(layers):
        weight, bias = (state[f"mapping.fc{i}.{leaf}"].double().numpy() for leaf in ("weight", "bias"))
        x = x @ (weight.T * (LR_MULTIPLIER / weight.shape[1] ** 0.5)) + bias * LR_MULTIPLIER
        x = np.where(x < 0, 0.2 * x, x) * 2**0.5
    return torch.from_numpy(np.round(x.mean(axis=0) * _GRID) / _GRID).float()


def blocks_from_triples(count: int) -> np.ndarray:
    """For each of ``count`` channels in our order, its place in theirs."""
    low = count // 4
    details = low + np.arange(3 * low).reshape(low, 3).T.reshape(-1)
    return np.concatenate([np.arange(low), details])


def _mapping_state(graph: Graph) -> State:
    state: State = {}
    for i, product in enumerate(graph.of_kind("MatMul")):
        weight = graph.constant(graph.sources(product)[1]).astype(np.float64)
        addition = next(layer for layer in graph.of_kind("Add") if graph.sources(layer)[0] is product)
        bias = graph.sources(addition)[1]
        bias = graph.constant(bias if bias.kind == "Const" else graph.sources(bias)[0]).astype(np.float64)
        gain = LR_MULTIPLIER / weight.shape[1] ** 0.5
        state[f"mapping.fc{i}.weight"] = torch.from_numpy((weight / gain).astype(np.float32))
        state[f"mapping.fc{i}.bias"] = torch.from_numpy((bias / LR_MULTIPLIER).astype(np.float32).reshape(-1))
    return state


class _Synthesis:
    """The synthesis graph: most constants are known by name, the folded ones by the nodes that they feed."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.named = {layer.name: layer for layer in graph.of_kind("Const")}
        self.readers: dict[int, list[Layer]] = {}
        for layer in graph.layers.values():
            for source in graph.sources(layer):
                self.readers.setdefault(id(source), []).append(layer)
        self.state: State = {}

    def read(self) -> tuple[State, tuple[int, ...], int]:
        """State dict, channels from 4 px on, and channels of the image."""
        const = self.value("m.input.input")
        self.put("synthesis.b4.const", const[0])
        levels = 0
        channels = [self.layer("m.conv1", "synthesis.b4.conv1", "Multiply", const.shape[-1], shuffled=True)]
        while f"m.layers.{levels}.up.modulation.weight" in self.named:
            ours, theirs, r = f"synthesis.b{8 << levels}", f"m.layers.{levels}", 8 << levels
            last = f"m.layers.{levels + 1}.up.modulation.weight" not in self.named
            self.affine(f"{theirs}.up.modulation", f"{ours}.up", order=blocks_from_triples(channels[-1]))
            self.layer(f"{theirs}.conv1", f"{ours}.conv0", "GroupConvolution", r)
            channels.append(self.layer(f"{theirs}.conv2", f"{ours}.conv1", "GroupConvolution", r, shuffled=not last))
            levels += 1
        head = f"m.layers.{levels - 1}.to_img"
        self.affine(f"{head}.conv.modulation", "synthesis.torgb.affine")
        weight = self.value(f"{head}.conv.weight")
        order = blocks_from_triples(len(weight))
        self.put("synthesis.torgb.weight", weight[order, :, 0, 0])
        self.put("synthesis.torgb.bias", self.value(f"{head}.bias").reshape(-1)[order])
        return self.state, tuple(channels), len(weight) // 4

    def layer(self, theirs: str, ours: str, kind: str, r: int, shuffled: bool = False) -> int:
        """One styled layer; its channels come out in our order where they go into a wavelet step (``shuffled``)."""
        self.affine(f"{theirs}.conv.modulation", f"{ours}.affine")
        if kind == "GroupConvolution":
            depthwise = self.named[f"{theirs}.conv.weight_dw"]
            self.put(f"{ours}.depthwise", self.graph.constant(depthwise)[:, 0])
            before = self.readers[id(depthwise)][0]
            convolution = self.readers[id(before)][0]
        else:
            convolution = next(self.graph.of_kind("Convolution"))
        weight = self.graph.constant(self.graph.sources(convolution)[1])
        order = blocks_from_triples(len(weight)) if shuffled else np.arange(len(weight))
        self.put(f"{ours}.weight", weight[order] if kind == "Multiply" else weight[order, :, 0, 0])
        self.put(f"{ours}.bias", self.value(f"{theirs}.bias").reshape(-1)[order])
        addition = self.readers[id(convolution)][0]
        noise = self.graph.constant(self.graph.sources(addition)[1]).astype(np.float64)[0, 0]
        strength = np.sqrt(np.square(noise).mean())
        self.put(f"{ours}.noise_strength", strength)
        self.put(f"{ours}.noise_const", noise / max(strength, 1e-12))
        return len(weight)

    def affine(self, theirs: str, ours: str, order: np.ndarray | None = None) -> None:
        weight, bias = self.value(f"{theirs}.weight"), self.value(f"{theirs}.bias").reshape(-1)
        self.put(f"{ours}.weight", weight if order is None else weight[order])
        self.put(f"{ours}.bias", bias if order is None else bias[order])

    def value(self, name: str) -> np.ndarray:
        if name not in self.named:
            raise self.graph.damaged(f"it has no constant {name!r}")
        return self.graph.constant(self.named[name])

    def put(self, name: str, value: np.ndarray | np.floating) -> None:
        self.state[name] = torch.from_numpy(np.array(value, dtype=np.float32))


def read_folder(folder: Path) -> Checkpoint:
    """The generator in a folder with the ``.xml`` and ``.bin`` of both networks."""
    graphs = [
        read_graph(path.read_bytes(), memoryview(path.with_suffix(".bin").read_bytes()), repr(str(path)))
        for path in sorted(folder.glob("*.xml"))
    ]
    synthesis = next(graph for graph in graphs if is_synthesis(graph))
    return from_graphs(next(graph for graph in graphs if graph is not synthesis), synthesis)
