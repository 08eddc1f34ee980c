"""Small MobileStyleGANs with drawn weights in their authors' terms: checkpoint, exported graphs, and their arithmetic.

Everything is written from the description of the formats, and computed the long way: demodulation from the whole
kernel, the wavelet step as convolutions with Haar's filters. The code under test does neither.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import torch
import torch.nn.functional as F

CHANNELS = (8, 12, 8, 4)
W = 6
LEVELS = len(CHANNELS) - 1
SIDE = 4 << len(CHANNELS)

State = dict[str, torch.Tensor]


def student(seed: int = 0) -> State:
    """The state dict without the prefixes of their file: ``input.input``, ``conv1...``, ``mapping.1...``."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    state = {"input.input": normal(1, CHANNELS[0], 4, 4)}

    def modulation(name: str, channels: int) -> None:
        state[f"{name}.modulation.weight"] = 0.3 * normal(channels, W)
        state[f"{name}.modulation.bias"] = 1 + 0.1 * normal(channels)

    def rest(name: str, taken: int, given: int) -> None:
        modulation(f"{name}.conv", taken)
        state[f"{name}.conv.style_inv"] = normal(1, 1, taken, 1, 1)
        state[f"{name}.noise.weight"] = 0.2 + 0.1 * normal(1).abs()
        state[f"{name}.bias"] = 0.1 * normal(1, given, 1, 1)

    def head(name: str, channels: int) -> None:
        modulation(f"{name}.conv", channels)
        state[f"{name}.conv.weight"] = 0.02 * normal(12, channels, 1, 1)
        state[f"{name}.bias"] = 0.1 * normal(1, 12, 1, 1)

    state["conv1.conv.weight"] = normal(CHANNELS[0], CHANNELS[0], 3, 3)
    rest("conv1", CHANNELS[0], CHANNELS[0])
    head("to_img1", CHANNELS[0])
    for level in range(LEVELS):
        name, taken, given = f"layers.{level}", CHANNELS[level], CHANNELS[level + 1]
        modulation(f"{name}.up", taken)
        for conv, c in (("conv1", taken // 4), ("conv2", given)):
            state[f"{name}.{conv}.conv.weight_dw"] = normal(c, 1, 3, 3)
            state[f"{name}.{conv}.conv.weight_permute"] = normal(given, c, 1, 1)
            rest(f"{name}.{conv}", c, given)
        head(f"{name}.to_img", given)
    for i in (1, 2, 3):
        state[f"mapping.{i}.weight"] = 100 * normal(W, W)
        state[f"mapping.{i}.bias"] = 10 * normal(W)
    return state


def noise_maps(seed: int = 1) -> State:
    """A map [r,r] of noise for every layer that has one, by the authors' names."""
    names = {"conv1": 4} | {f"layers.{i}.conv{k}": 8 << i for i in range(LEVELS) for k in (1, 2)}
    draw = torch.Generator().manual_seed(seed)
    maps = {name: torch.randn(r, r, generator=draw) for name, r in names.items()}
    return {name: value / value.square().mean().sqrt() for name, value in maps.items()}


def checkpoint(state: State, maps: State | None = None) -> dict[str, object]:
    """What the authors' training saves: the student among its teacher, losses, and counters."""
    theirs: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name.startswith("mapping."):
            theirs[name.replace("mapping.", "mapping_net.layers.")] = value
        else:
            theirs[f"student.{name}"] = value
    theirs |= {f"student.{name}.noise.noise": value[None, None] for name, value in (maps or {}).items()}
    theirs["synthesis_net.input.input"] = torch.zeros(1, 4, 4, 4)
    theirs["student.idwt.g0_col"] = torch.ones(1, 1, 2, 1)
    theirs["device_info"] = torch.tensor(1)
    theirs["style_mean"] = torch.full((1, 3 * LEVELS + 2, W), 0.25)
    return {"epoch": 3, "global_step": 12, "state_dict": theirs, "pytorch-lightning_version": "1.2.8"}


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def map_latents(state: State, z: torch.Tensor) -> torch.Tensor:
    """w [N, W] of z [N, W]: pixel norm, then layers whose weights carry a learning-rate multiplier of 0.01."""
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in (1, 2, 3):
        x = x @ (state[f"mapping.{i}.weight"] * (0.01 / W**0.5)).t() + state[f"mapping.{i}.bias"] * 0.01
        x = F.leaky_relu(x, 0.2) * 2**0.5
    return x


def kernel(state: State, name: str) -> torch.Tensor:
    """The whole kernel [O,C,3,3] of a layer before modulation and demodulation."""
    if f"{name}.conv.weight" in state:
        return state[f"{name}.conv.weight"]
    return state[f"{name}.conv.weight_dw"].transpose(0, 1) * state[f"{name}.conv.weight_permute"]


def demodulation(state: State, name: str) -> torch.Tensor:
    """[O,1,1,1]: one over the norm of the kernel under the stored statistics of styles."""
    weight = kernel(state, name)
    scale = 1 / (weight.shape[1] * 9) ** 0.5
    scaled = scale * state[f"{name}.conv.style_inv"].reshape(1, -1, 1, 1) * weight
    return 1 / (scaled.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()


def affine(state: State, name: str, w: torch.Tensor) -> torch.Tensor:
    return (w @ state[f"{name}.modulation.weight"].t() + state[f"{name}.modulation.bias"])[:, :, None, None]


def inverse_wavelet(x: torch.Tensor) -> torch.Tensor:
    """Haar synthesis by transposed convolutions; [N,4c,h,w] holds c averages, then c triples of details."""
    c = x.shape[1] // 4
    low, high = x[:, :c], x[:, c:].unflatten(1, (c, 3))
    sums, differences = torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([1.0, -1.0]) / 2**0.5

    def along(value: torch.Tensor, taps: torch.Tensor, rows: bool) -> torch.Tensor:
        shape, stride = ((1, 1, 2, 1), (2, 1)) if rows else ((1, 1, 1, 2), (1, 2))
        return F.conv_transpose2d(value, taps.reshape(shape).repeat(c, 1, 1, 1), stride=stride, groups=c)

    first = along(low, sums, True) + along(high[:, :, 0], differences, True)
    second = along(high[:, :, 1], sums, True) + along(high[:, :, 2], differences, True)
    return along(first, sums, False) + along(second, differences, False)


def render(state: State, ws: torch.Tensor, maps: State) -> torch.Tensor:
    """The picture [N,3,SIDE,SIDE] of ``ws`` [N,rows,W], rows numbered as in the teacher."""

    def styled(x: torch.Tensor, name: str, row: int) -> torch.Tensor:
        weight = kernel(state, name) * demodulation(state, name)
        x = F.conv2d(x * affine(state, f"{name}.conv", ws[:, row]) / (9 * weight.shape[1]) ** 0.5, weight, padding=1)
        return F.leaky_relu(x + maps[name] * state[f"{name}.noise.weight"] + state[f"{name}.bias"], 0.2)

    x = styled(state["input.input"].repeat(len(ws), 1, 1, 1), "conv1", 0)
    for level in range(LEVELS):
        x = inverse_wavelet(x * affine(state, f"layers.{level}.up", ws[:, 2 * level + 1]))
        x = styled(x, f"layers.{level}.conv1", 2 * level + 1)
        x = styled(x, f"layers.{level}.conv2", 2 * level + 2)
    head = f"layers.{LEVELS - 1}.to_img"
    weight = state[f"{head}.conv.weight"] / weight_scale(state[f"{head}.conv.weight"])
    x = F.conv2d(x * affine(state, f"{head}.conv", ws[:, 2 * LEVELS + 1]), weight) + state[f"{head}.bias"]
    return inverse_wavelet(x)


def weight_scale(weight: torch.Tensor) -> float:
    return weight.shape[1] ** 0.5


# --- the exported graphs ----------------------------------------------------------------------------------------------


class GraphWriter:
    """Writes IR: nodes in the order in which they are added, constants one after the other in the second file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[str] = []
        self.edges: list[str] = []
        self.weights = bytearray()

    def node(self, kind: str, name: str, *inputs: int, **data: object) -> int:
        key = len(self.nodes)
        attributes = " ".join(f"{field}={quoteattr(str(value))}" for field, value in data.items())
        ports = "".join(f'<port id="{i}" precision="FP32"><dim>1</dim></port>' for i in range(len(inputs)))
        self.nodes.append(
            f'<layer id="{key}" name={quoteattr(name)} type="{kind}" version="opset1"><data {attributes}/>'
            f'<input>{ports}</input><output><port id="{len(inputs)}" precision="FP32"/></output></layer>'
        )
        for port, source in enumerate(inputs):
            self.edges.append(f'<edge from-layer="{source}" from-port="9" to-layer="{key}" to-port="{port}"/>')
        return key

    def const(self, name: str, value: torch.Tensor | float | list[int]) -> int:
        integers = isinstance(value, list)
        array = np.asarray(value, dtype="<i8" if integers else "<f4")
        shape = ", ".join(str(side) for side in array.shape)
        place = {"offset": len(self.weights), "size": array.nbytes}
        self.weights += array.tobytes()
        return self.node("Const", name, element_type="i64" if integers else "f32", shape=shape, **place)

    def write(self, folder: Path) -> None:
        nodes, edges = "\n".join(self.nodes), "\n".join(self.edges)
        xml = f'<?xml version="1.0" ?>\n<net name="{self.name}" version="10">\n<layers>\n{nodes}\n</layers>\n'
        xml += f"<edges>\n{edges}\n</edges>\n<meta_data><MO_version value='1'/></meta_data>\n</net>\n"
        (folder / f"{self.name}.xml").write_text(xml)
        (folder / f"{self.name}.bin").write_bytes(self.weights)


def mapping_graph(state: State) -> GraphWriter:
    graph = GraphWriter("MappingNetwork")
    x = graph.node("Parameter", "var", shape=f"1, {W}", element_type="f32")
    for i in (1, 2, 3):
        weight = graph.const(f"{170 + i}", state[f"mapping.{i}.weight"] * (0.01 / W**0.5))
        x = graph.node("MatMul", f"MatMul_{i}", x, weight, transpose_a="false", transpose_b="true")
        bias = graph.const(f"{270 + i}", state[f"mapping.{i}.bias"] * 0.01)
        bias = graph.node("Reshape", f"Reshape_{i}", bias, graph.const(f"shape_{i}", [1, W]))
        x = graph.node("Add", f"Add_{i}", x, bias)
        x = graph.node("PReLU", f"LeakyRelu_{i}", x, graph.const(f"slope_{i}", torch.tensor([0.2])))
        x = graph.node("Multiply", f"Mul_{i}", x, graph.const(f"gain_{i}", torch.full((1, 1), 2**0.5)))
    graph.node("Result", "style", x)
    return graph


class _SynthesisWriter:
    def __init__(self, state: State, maps: State) -> None:
        self.state = state
        self.maps = maps
        self.graph = GraphWriter("SynthesisNetwork")
        self.style = self.graph.node("Parameter", "style", shape=f"1, {W}", element_type="f32")

    def affine(self, name: str, scale: float | None) -> int:
        graph = self.graph
        weight = graph.const(f"m.{name}.modulation.weight", self.state[f"{name}.modulation.weight"])
        x = graph.node("MatMul", f"Gemm_{name}", self.style, weight, transpose_a="false", transpose_b="true")
        x = graph.node("Add", f"Add_{name}", x, graph.const(f"m.{name}.modulation.bias",
                                                           self.state[f"{name}.modulation.bias"][None]))  # fmt: skip
        x = graph.node("Reshape", f"Reshape_{name}", x, graph.const(f"shape {name}", [1, -1, 1, 1]))
        if scale is None:
            return x
        return graph.node("Multiply", f"Mul_{name}", x, graph.const(f"scale {name}", torch.full((1, 1, 1, 1), scale)))

    def styled(self, x: int, name: str) -> int:
        graph, state = self.graph, self.state
        channels = kernel(state, name).shape[1]
        x = graph.node("Multiply", f"Mod_{name}", self.affine(f"{name}.conv", (9 * channels) ** -0.5), x)
        if f"{name}.conv.weight_dw" in state:
            depthwise = graph.const(f"m.{name}.conv.weight_dw", state[f"{name}.conv.weight_dw"][:, None])
            x = graph.node("GroupConvolution", f"Dw_{name}", x, depthwise, strides="1, 1")
            weight = state[f"{name}.conv.weight_permute"] * demodulation(state, name)
        else:
            weight = state[f"{name}.conv.weight"] * demodulation(state, name)
        x = graph.node("Convolution", f"Conv_{name}", x, graph.const(f"folded {name}", weight), strides="1, 1")
        noise = graph.const(f"noise {name}", (self.maps[name] * state[f"{name}.noise.weight"])[None, None])
        x = graph.node("Add", f"Noise_{name}", x, noise)
        x = graph.node("Add", f"Bias_{name}", x, graph.const(f"m.{name}.bias", state[f"{name}.bias"]))
        return graph.node("PReLU", f"LeakyRelu_{name}", x, graph.const(f"slope {name}", torch.tensor([0.2])))

    def write(self) -> GraphWriter:
        graph = self.graph
        x = self.styled(graph.const("m.input.input", self.state["input.input"]), "conv1")
        for level in range(LEVELS):
            x = graph.node("Multiply", f"Up_{level}", self.affine(f"layers.{level}.up", None), x)
            x = graph.node("GroupConvolutionBackpropData", f"Idwt_{level}", x)  # the reader knows Haar's filters
            x = self.styled(x, f"layers.{level}.conv1")
            x = self.styled(x, f"layers.{level}.conv2")
        head = f"layers.{LEVELS - 1}.to_img"
        x = graph.node("Multiply", "Mod_img", self.affine(f"{head}.conv", CHANNELS[-1] ** -0.5), x)
        weight = graph.const(f"m.{head}.conv.weight", self.state[f"{head}.conv.weight"])
        x = graph.node("Convolution", "Conv_img", x, weight, strides="1, 1")
        x = graph.node("Add", "Add_img", x, graph.const(f"m.{head}.bias", self.state[f"{head}.bias"]))
        graph.node("Result", "img", x)
        return graph


def write_graphs(folder: Path, state: State, maps: State) -> Path:
    """The four files of the exported network in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping_graph(state).write(folder)
    _SynthesisWriter(state, maps).write().write(folder)
    return folder
