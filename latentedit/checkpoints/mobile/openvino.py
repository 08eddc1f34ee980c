"""OpenVINO's intermediate representation (IR): a graph in XML beside a file of its constants, read as data.

The XML is taken from the parser event by event: document types and entities are refused, nothing is nested or kept but
layers, their ``<data>`` attributes, and edges, and every constant must lie inside the file of weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

import numpy as np

from latentedit.errors import ModelError

MAX_XML = 16 << 20
MAX_DEPTH = 16
MAX_LAYERS = 10_000
MAX_EDGES = 40_000
MAX_RANK = 8
_TYPES = {"f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4"}
_TRANSPARENT = ("Reshape", "Convert", "Unsqueeze", "Squeeze")
"""Kinds of nodes that hand a constant on."""
_HEAD = re.compile(rb"\s*(<\?xml[^>]{0,200}\?>)?[^<]*(<!(--|DOCTYPE)[^>]{0,2000}>[^<]*)*<net[\s>]")


def is_ir(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (some kilobytes) is a graph of IR."""
    return _HEAD.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


@dataclass
class Layer:
    """One node of the graph: its type and name, the attributes of its ``<data>``, and the nodes it reads, by port."""

    kind: str
    name: str
    data: dict[str, str] = field(default_factory=dict)
    inputs: dict[int, str] = field(default_factory=dict)


class Graph:
    """A network of IR: ``layers`` by id in the order of the file, and the bytes of the constants.

    Constants may overlap in their file, so what is taken of them in all is limited to a little more than the file.
    """

    def __init__(self, layers: dict[str, Layer], weights: memoryview, origin: str) -> None:
        self.layers = layers
        self.weights = weights
        self.origin = origin
        self._left = 3 * len(weights) + (1 << 20)
        self._readers: dict[int, list[Layer]] = {}
        for layer in layers.values():
            for key in layer.inputs.values():
                self._readers.setdefault(id(layers[key]), []).append(layer)

    def of_kind(self, kind: str) -> Iterator[Layer]:
        """Nodes of the type ``kind``, in the order of the file."""
        return (layer for layer in self.layers.values() if layer.kind == kind)

    def sources(self, layer: Layer) -> list[Layer]:
        """The nodes that ``layer`` reads, in the order of its ports."""
        return [self.layers[key] for _, key in sorted(layer.inputs.items())]

    def reader(self, layer: Layer, kind: str) -> Layer:
        """The node of type ``kind`` that reads ``layer``.

        Raises:
            ModelError: there is none, or several.
        """
        readers = [reader for reader in self._readers.get(id(layer), []) if reader.kind == kind]
        if len(readers) != 1:
            raise self.damaged(f"{layer.name!r:.60} is read by {len(readers)} nodes of type {kind}")
        return readers[0]

    def operand(self, layer: Layer) -> Layer | None:
        """The constant that ``layer`` works with, directly or through nodes that only reshape it; None without one."""
        for source in self.sources(layer):
            for _ in range(4):
                if source.kind not in _TRANSPARENT or not source.inputs:
                    break
                source = self.sources(source)[0]
            if source.kind == "Const":
                return source
        return None

    def value(self, layer: Layer | None) -> np.ndarray:
        """The value of a constant; floating-point numbers as float32.

        Raises:
            ModelError: no constant, one of an unknown type, or one that does not fit into the file of weights.
        """
        if layer is None or layer.kind != "Const":
            raise self.damaged("a constant is missing")
        try:
            dtype = np.dtype(_TYPES[layer.data["element_type"]])
            shape = tuple(int(side) for side in layer.data["shape"].split(",") if side.strip())
            offset, size = int(layer.data["offset"]), int(layer.data["size"])
        except (KeyError, ValueError) as error:
            raise self.damaged(f"the constant {layer.name!r:.80} is not described") from error
        fits = 0 <= offset <= offset + size <= len(self.weights)
        if len(shape) > MAX_RANK or min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != size or not fits:
            raise self.damaged(
                f"the constant {layer.name!r:.80} does not lie in the {len(self.weights)} bytes of weights"
            )
        self._left -= 4 * math.prod(shape)
        if self._left < 0:
            raise ModelError(
                f"The constants of {self.origin} unfold to far more than their file.", "Do not trust this file."
            )
        values = np.frombuffer(self.weights[offset : offset + size], dtype=dtype).reshape(shape)
        return values.astype(np.float32) if dtype.kind == "f" else values

    def damaged(self, detail: str) -> ModelError:
        """The error for a graph that cannot be used."""
        return _damaged(self.origin, detail)


def _damaged(origin: str, detail: str) -> ModelError:
    return ModelError(f"{origin} cannot be read: {detail}.", "The file is damaged or not supported; fetch it again.")


def read_graph(xml: bytes | memoryview, weights: memoryview, origin: str) -> Graph:
    """The graph in ``xml`` with its constants in ``weights``.

    Raises:
        ModelError: no intact IR, or XML with more than plain elements (a document type, entities, too deep, too large).
    """
    if len(xml) > MAX_XML:
        raise _damaged(origin, f"its XML has {len(xml)} bytes, more than {MAX_XML}")
    reader = _Reader(origin)
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    parser.ExternalEntityRefHandler = reader.refuse
    try:
        parser.Parse(bytes(xml), True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last for encodings that nobody knows
        raise _damaged(origin, f"its XML is broken ({error})") from error
    reader.connect()
    return Graph(reader.layers, weights, origin)


class _Reader:
    """Events of the XML parser to layers and edges."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.layers: dict[str, Layer] = {}
        self.edges: list[tuple[str, int, str]] = []
        self.path: list[str] = []
        self.current: Layer | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.path) >= MAX_DEPTH:
            raise _damaged(self.origin, "its XML is nested too deeply")
        if not self.path and tag != "net":
            raise _damaged(self.origin, f"its XML begins with <{tag[:40]}>, not with <net> as IR does")
        self.path.append(tag)
        if self.path == ["net", "layers", "layer"]:
            self._layer(attributes)
        elif self.path == ["net", "layers", "layer", "data"] and self.current is not None:
            self.current.data.update(attributes)
        elif self.path == ["net", "edges", "edge"]:
            self._edge(attributes)

    def end(self, tag: str) -> None:
        self.path.pop()

    def refuse(self, *_: object) -> NoReturn:
        raise ModelError(
            f"{self.origin} holds XML with a document type or entities, which no model has.", "Do not trust this file."
        )

    def _layer(self, attributes: dict[str, str]) -> None:
        key = attributes.get("id", "")
        if key in self.layers or len(self.layers) >= MAX_LAYERS:
            raise _damaged(self.origin, f"its layer {key!r:.40} comes twice, or it has more than {MAX_LAYERS} layers")
        self.current = self.layers[key] = Layer(attributes.get("type", ""), attributes.get("name", ""))

    def _edge(self, attributes: dict[str, str]) -> None:
        try:
            edge = (attributes["from-layer"], int(attributes["to-port"]), attributes["to-layer"])
        except (KeyError, ValueError) as error:
            raise _damaged(self.origin, "an edge of its graph is not described") from error
        if len(self.edges) >= MAX_EDGES:
            raise _damaged(self.origin, f"it has more than {MAX_EDGES} edges")
        self.edges.append(edge)

    def connect(self) -> None:
        """Give every layer its inputs."""
        for source, port, target in self.edges:
            if source not in self.layers or target not in self.layers:
                raise _damaged(self.origin, f"an edge names the unknown layer {source[:20]!r} or {target[:20]!r}")
            self.layers[target].inputs[port] = source
