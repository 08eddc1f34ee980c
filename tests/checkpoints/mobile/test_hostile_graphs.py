"""Hostile and damaged graphs: each ends in the clear error, and takes no more memory than the file asks for."""

from __future__ import annotations

import resource
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import mobile_files as small
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentedit.checkpoints.mobile.openvino import MAX_DEPTH, MAX_XML, is_ir, read_graph
from latentedit.errors import LatentEditError, ModelError
from latentedit.models import load_generator


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_graphs(tmp_path_factory.mktemp("graphs"), small.student(), small.noise_maps())


def net(body: str, head: str = "") -> bytes:
    return f'<?xml version="1.0"?>{head}<net name="x" version="10">{body}</net>'.encode()


def layers(body: str) -> bytes:
    return net(f"<layers>{body}</layers>")


LAUGHS = '<!DOCTYPE net [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
) + "]>"  # fmt: skip

XML: dict[str, tuple[Callable[[], bytes], str]] = {
    "a billion laughs": (lambda: net("&j;", LAUGHS), "a document type or entities"),
    "an external entity": (
        lambda: net("&a;", '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>'), "a document type or entities",
    ),
    "a parameter entity": (
        lambda: net("", '<!DOCTYPE net [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x"> %a;]>'),
        "a document type or entities",
    ),
    "a document type alone": (lambda: net("", '<!DOCTYPE net SYSTEM "x.dtd">'), "a document type or entities"),
    "an undefined entity": (lambda: net("&nothing;"), "its XML is broken"),
    "deep nesting": (lambda: net("<a>" * 200_000), "nested too deeply"),
    "just too deep": (lambda: net("<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH), "nested too deeply"),
    "too long": (lambda: net(" " * MAX_XML), "bytes, more than"),
    "too many layers": (
        lambda: layers("".join(f'<layer id="{i}"/>' for i in range(10_001))), "more than 10000 layers",
    ),
    "too many edges": (
        lambda: net('<layers><layer id="0"/></layers><edges>'
                    + '<edge from-layer="0" to-layer="0" to-port="0"/>' * 40_001 + "</edges>"), "40000 edges",
    ),
    "an id twice": (lambda: layers('<layer id="0"/><layer id="0"/>'), "comes twice"),
    "an edge into nothing": (
        lambda: net('<edges><edge from-layer="7" to-layer="8" to-port="0"/></edges>'), "names the unknown layer",
    ),
    "an edge without a port": (lambda: net('<edges><edge from-layer="7" to-layer="8"/></edges>'), "edge of its graph"),
    "cut short": (lambda: layers("")[:-5], "its XML is broken"),
    "two roots": (lambda: net("") + net("")[21:], "its XML is broken"),
    "an unknown encoding": (lambda: net("").replace(b'"1.0"', b'"1.0" encoding="x-rot13"'), "its XML is broken"),
    "a multi-byte encoding": (lambda: net("").replace(b'"1.0"', b'"1.0" encoding="utf-7"'), "its XML is broken"),
    "null bytes": (lambda: net("\0"), "its XML is broken"),
    "another root": (lambda: b"<net2/>", "begins with <net2>"),
}  # fmt: skip


@pytest.mark.parametrize("name", XML)
def test_hostile_xml(name: str) -> None:
    make, message = XML[name]
    content = make()
    tracemalloc.start()
    with pytest.raises(ModelError, match=message):
        read_graph(content, memoryview(b""), "x.xml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


CONSTANTS = {
    "behind the end": {"offset": "4", "size": "16", "shape": "4"},
    "a negative offset": {"offset": "-16", "size": "16", "shape": "4"},
    "a negative size": {"offset": "16", "size": "-16", "shape": "4"},
    "a size that is not the shape's": {"offset": "0", "size": "8", "shape": "4"},
    "a huge shape": {"offset": "0", "size": "16", "shape": "1000000, 1000000, 1000000, 1000000"},
    "negative sides": {"offset": "0", "size": "16", "shape": "-2, -2"},
    "a rank of nine": {"offset": "0", "size": "16", "shape": "1, 1, 1, 1, 1, 1, 1, 1, 4"},
    "an offset of many digits": {"offset": "9" * 100, "size": "16", "shape": "4"},
    "an offset of too many digits": {"offset": "9" * 5000, "size": "16", "shape": "4"},
    "no number": {"offset": "0", "size": "sixteen", "shape": "4"},
    "no offset": {"size": "16", "shape": "4"},
    "strings": {"offset": "0", "size": "16", "shape": "4", "element_type": "string"},
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_outside_of_their_file(name: str) -> None:
    data = " ".join(f'{key}="{value}"' for key, value in {"element_type": "f32", **CONSTANTS[name]}.items())
    graph = read_graph(
        layers(f'<layer id="0" type="Const" name="x"><data {data}/></layer>'), memoryview(bytes(16)), "x"
    )
    with pytest.raises(ModelError, match=r"is not described|does not lie in the 16 bytes"):
        graph.value(graph.layers["0"])


def test_constants_on_top_of_each_other_do_not_unfold_without_end() -> None:
    size = 4 << 20
    data = f'<data element_type="f32" shape="{size // 4}" offset="0" size="{size}"/>'
    content = layers("".join(f'<layer id="{i}" type="Const" name="{i}">{data}</layer>' for i in range(100)))
    graph = read_graph(content, memoryview(bytes(size)), "x")
    with pytest.raises(ModelError, match="unfold to far more"):
        _ = [graph.value(layer) for layer in graph.layers.values()]


def test_a_circle_of_reshapes_ends() -> None:
    nodes = "".join(f'<layer id="{i}" type="Reshape"/>' for i in (0, 1)) + '<layer id="2" type="Add"/>'
    edges = [(0, 1), (1, 0), (0, 2)]
    wires = "".join(f'<edge from-layer="{a}" to-layer="{b}" to-port="0"/>' for a, b in edges)
    graph = read_graph(net(f"<layers>{nodes}</layers><edges>{wires}</edges>"), memoryview(b""), "x")
    with pytest.raises(ModelError, match="a constant is missing"):
        graph.value(graph.operand(graph.layers["2"]))


def test_a_web_page_is_told_as_such(tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html><body>Quota exceeded</body></html>"
    assert not is_ir(page)
    (tmp_path / "x.xml").write_bytes(page)
    with pytest.raises(ModelError, match="an HTML or XML page"):
        load_generator(tmp_path / "x.xml")


def test_a_zip_bomb_is_refused_before_it_unfolds(original: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in original.iterdir():
            archive.write(file, file.name)
        archive.writestr("big.xml", net("<layers/>"))
        archive.writestr("big.bin", bytes(200 << 20))
    with pytest.raises(ModelError, match=r"'big\.bin', which unfolds from \d+ to 209715200 bytes"):
        load_generator(tmp_path / "x.whl")


@pytest.mark.parametrize(
    ("name", "cases"), [("MappingNetwork.xml", 150), ("SynthesisNetwork.xml", 150), ("MappingNetwork.bin", 40)]
)
def test_damaged_graphs(name: str, cases: int, original: Path, tmp_path: Path) -> None:
    for file in original.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = (original / name).read_bytes()
    expected = load_generator(original).state_dict()
    outcomes = {"loads": 0, "refused": 0}

    @settings(
        max_examples=cases, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.floats(0, 1, exclude_max=True), st.sampled_from(["flip", "cut", "copy"]), st.integers(0, 255))
    def case(where: float, kind: str, value: int) -> None:
        data, at = bytearray(content), int(where * len(content))
        if kind == "flip":
            data[at] ^= 1 << value % 8
        elif kind == "cut":
            del data[at : at + 1 + value]
        else:
            data[at : at + 32] = data[value * 7 : value * 7 + 32]
        (tmp_path / name).write_bytes(data)
        try:
            state = load_generator(tmp_path).state_dict()
        except LatentEditError:
            outcomes["refused"] += 1
            return
        outcomes["loads"] += 1
        assert {key: value.shape for key, value in state.items()} == {key: v.shape for key, v in expected.items()}
        assert all(bool(torch.isfinite(value).all()) for value in state.values())

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    case()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19  # kilobytes: 512 MB
    assert outcomes["refused"] > cases // 10
