"""Hostile files: each ends in the clear error, and nothing of it runs."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_files import foreign_modules, write_nvidia

from latentedit.checkpoints.pickles.machine import MAX_OPCODES
from latentedit.errors import ModelError, UnsafeCheckpointError
from latentedit.models import load_generator

PROTO = b"\x80\x04"


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stack_named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


class Reduce:
    """Pickles as whatever it is given."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __reduce__(self):
        return self.parts


def dumped(value: object, protocol: int = 4) -> bytes:
    return pickle.dumps(value, protocol=protocol)


def archive(pickled: bytes, *, name: str = "archive/data.pkl", compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as target:
        target.writestr(name, pickled)
        target.writestr("archive/version", "3\n")
    return stream.getvalue()


def legacy(pickled: bytes) -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(dumped(value, 2) for value in head) + pickled + dumped([], 2)


def nested(payload: bytes) -> bytes:
    data = b"B" + struct.pack("<I", len(payload)) + payload
    return PROTO + named("torch.storage", "_load_from_bytes") + data + b"\x85R."


def touch(trap: str) -> tuple:
    return os.system, (f"touch {trap}",)


# name -> (trap path) -> bytes. Every one of them runs code, or does harm, in a reader that trusts pickle.
CODE: dict[str, Callable[[str], bytes]] = {
    "os.system by __reduce__": lambda t: dumped(Reduce(*touch(t))),
    "os.system, protocol 0": lambda t: dumped(Reduce(*touch(t)), 0),
    "os.system, protocol 1": lambda t: dumped(Reduce(*touch(t)), 1),
    "os.system, protocol 2": lambda t: dumped(Reduce(*touch(t)), 2),
    "os.system, protocol 5": lambda t: dumped(Reduce(*touch(t)), 5),
    "builtins.eval": lambda t: dumped(Reduce(eval, (f"open({t!r}, 'w')",))),
    "builtins.exec": lambda t: dumped(Reduce(exec, (f"open({t!r}, 'w')",))),
    "builtins.open": lambda t: dumped(Reduce(open, (t, "w"))),
    "builtins.compile": lambda t: dumped(Reduce(compile, ("1", "x", "eval"))),
    "builtins.__import__": lambda t: PROTO + named("builtins", "__import__") + text("os") + b"\x85R.",
    "builtins.getattr on an allowed class": lambda t: (
        PROTO + named("builtins", "getattr") + named("collections", "OrderedDict") + text("__init__") + b"\x86R."
    ),
    "operator.attrgetter": lambda t: PROTO + named("operator", "attrgetter") + text("system") + b"\x85R.",
    "operator.methodcaller": lambda t: PROTO + named("operator", "methodcaller") + text("system") + b"\x85R.",
    "functools.partial": lambda t: PROTO + named("functools", "partial") + named("os", "system") + b"\x85R.",
    "subprocess.Popen": lambda t: PROTO + named("subprocess", "Popen") + text(f"touch {t}") + b"\x85R.",
    "posix.system": lambda t: PROTO + named("posix", "system") + text(f"touch {t}") + b"\x85R.",
    "nt.system": lambda t: PROTO + named("nt", "system") + text(f"touch {t}") + b"\x85R.",
    "shutil.rmtree": lambda t: PROTO + named("shutil", "rmtree") + text(t) + b"\x85R.",
    "pickle.loads inside": lambda t: PROTO + named("pickle", "loads") + b"C\x01." + b"\x85R.",
    "_pickle.loads inside": lambda t: PROTO + named("_pickle", "loads") + b"C\x01." + b"\x85R.",
    "torch.load": lambda t: PROTO + named("torch", "load") + text(t) + b"\x85R.",
    "torch.hub.load": lambda t: PROTO + named("torch.hub", "load") + text("x/y") + b"\x85R.",
    "numpy.load with objects": lambda t: PROTO + named("numpy", "load") + text(t) + b"\x85R.",
    "numpy.testing runstring": lambda t: PROTO + named("numpy.testing._private.utils", "runstring") + b")R.",
    "runpy": lambda t: PROTO + named("runpy", "_run_code") + b")R.",
    "types.CodeType": lambda t: PROTO + named("types", "CodeType") + b")R.",
    "importlib": lambda t: PROTO + named("importlib", "import_module") + text("os") + b"\x85R.",
    "ctypes": lambda t: PROTO + named("ctypes", "CDLL") + text("libc.so.6") + b"\x85R.",
    "webbrowser": lambda t: PROTO + named("webbrowser", "open") + text("http://x") + b"\x85R.",
    "socket": lambda t: PROTO + named("socket", "socket") + b")R.",
    "a dotted name through an allowed module": lambda t: PROTO + stack_named("torch", "os.system") + b".",
    "a dotted name through an allowed class": lambda t: (
        PROTO + stack_named("collections", "OrderedDict.__init__.__globals__") + b"."
    ),
    "dunder of an allowed class": lambda t: PROTO + stack_named("collections", "OrderedDict.__reduce__") + b".",
    "the module with spaces": lambda t: PROTO + stack_named(" os", "system") + b".",
    "homoglyphs": lambda t: PROTO + stack_named("\u0441ollections", "OrderedDict") + b".",
    "a global whose name is no text": lambda t: PROTO + b"K\x01K\x02\x93.",
    "a global out of the memo": lambda t: PROTO + text("os") + b"\x94" + text("system") + b"\x94h\x00h\x01\x93.",
    "INST opcode": lambda t: b"(S'touch " + t.encode() + b"'\nios\nsystem\n.",
    "OBJ opcode": lambda t: b"(" + named("os", "system") + text(f"touch {t}") + b"o.",
    "NEWOBJ of a foreign class": lambda t: PROTO + named("subprocess", "Popen") + text("ls") + b"\x85\x81.",
    "NEWOBJ_EX with keywords": lambda t: (
        PROTO + named("collections", "OrderedDict") + b")}" + text("a") + b"K\x01s\x92."
    ),
    "a call of text": lambda t: PROTO + text("os.system") + text("ls") + b"\x85R.",
    "a call of a result of a call": lambda t: PROTO + named("collections", "OrderedDict") + b")R)R.",
    "a call of a name that is no function": lambda t: PROTO + named("torch", "FloatStorage") + b")R.",
    "BUILD on a class": lambda t: (
        PROTO + named("collections", "OrderedDict") + b"}" + text("__init__") + named("torch", "Size") + b"sb."
    ),
    "BUILD on a function": lambda t: (
        PROTO + named("torch._utils", "_rebuild_tensor_v2") + b"}" + text("__code__") + b"Nsb."
    ),
    "BUILD on a list": lambda t: PROTO + b"]}" + text("append") + b"Nsb.",
    "BUILD with slots state": lambda t: PROTO + b"]N}" + text("__class__") + b"Ns\x86b.",
    "a second BUILD": lambda t: PROTO + named("argparse", "Namespace") + b")\x81}" + text("a") + b"K\x01sb}b.",
    "extension code EXT1": lambda t: PROTO + b"\x82\x01.",
    "extension code EXT2": lambda t: PROTO + b"\x83\x01\x01.",
    "extension code EXT4": lambda t: PROTO + b"\x84\x01\x01\x01\x01.",
    "persistent id, text": lambda t: b"Pmodule\n.",
    "persistent id, binary": lambda t: PROTO + text("module") + b"Q.",
    "out-of-band buffer": lambda t: b"\x80\x05\x97.",
    "copyreg._reconstructor of a foreign class": lambda t: (
        PROTO + named("copyreg", "_reconstructor") + named("subprocess", "Popen") + named("builtins", "object")
        + b"N\x87R."
    ),
    "copyreg.add_extension": lambda t: PROTO + named("copyreg", "add_extension") + b")R.",
    "numpy array of objects by _frombuffer": lambda t: (
        PROTO + named("numpy._core.numeric", "_frombuffer") + b"(C\x08" + b"\0" * 8 + named("numpy", "dtype")
        + text("O8") + b"\x85R" + b"K\x01\x85" + text("C") + b"tR."
    ),
    "structured numpy dtype": lambda t: PROTO + named("numpy", "dtype") + text("V8") + b"\x85R.",
    "a dtype by its class": lambda t: PROTO + named("numpy", "dtype") + named("numpy", "ndarray") + b"\x85R.",
    "_reconstruct of another class": lambda t: (
        PROTO + named("numpy.core.multiarray", "_reconstruct") + named("argparse", "Namespace") + b"K\0\x85C\x01b\x87R."
    ),
    "codecs with a codec that decompresses": lambda t: (
        PROTO + named("_codecs", "encode") + text("x") + text("zip") + b"\x86R."
    ),
    "codecs.decode": lambda t: PROTO + named("_codecs", "decode") + text("x") + b"\x85R.",
    "EasyDict with arguments": lambda t: PROTO + named("dnnlib.util", "EasyDict") + text("x") + b"\x85R.",
    "network with arguments": lambda t: PROTO + named("dnnlib.tflib.network", "Network") + text("x") + b"\x85R.",
    "torch zip: os.system": lambda t: archive(dumped(Reduce(*touch(t)), 2)),
    "torch zip: a module as persistent id": lambda t: archive(PROTO + text("module") + b"\x85Q."),
    "torch zip: TorchScript": lambda t: archive(dumped({}), name="archive/constants.pkl"),
    "torch zip: compressed entries": lambda t: archive(dumped("x" * 10**6), compression=zipfile.ZIP_DEFLATED),
    "torch legacy: os.system": lambda t: legacy(dumped(Reduce(*touch(t)), 2)),
    "torch legacy: container with source": lambda t: legacy(PROTO + b"(" + text("module") + b"NNNtQ."),
    "a nested archive: os.system": lambda t: nested(legacy(dumped(Reduce(*touch(t)), 2))),
    "a nested archive in a nested archive": lambda t: nested(legacy(nested(legacy(dumped(1, 2))))),
    "a nested zip archive: os.system": lambda t: nested(archive(dumped(Reduce(*touch(t)), 2))),
}  # fmt: skip


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    return tmp_path / "trap"


@pytest.mark.parametrize("name", CODE)
def test_code_is_refused_and_never_runs(name: str, trap: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(CODE[name](str(trap)))
    modules, extensions = set(sys.modules), dict(copyreg._extension_registry)  # type: ignore[attr-defined]
    with pytest.raises(
        UnsafeCheckpointError, match=r"asks for .*, which weights do not need\. Nothing of the file was"
    ):
        load_generator(tmp_path / "x.pkl")
    assert not trap.exists()
    assert not {"webbrowser", "runpy", "nt"} & (set(sys.modules) - modules)
    assert copyreg._extension_registry == extensions  # type: ignore[attr-defined]


def test_there_are_at_least_forty() -> None:
    assert len(CODE) >= 40


def test_the_error_names_the_global(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(CODE["subprocess.Popen"]("x"))
    with pytest.raises(
        UnsafeCheckpointError, match=r"asks for the global 'subprocess\.Popen', which weights do not need"
    ):
        load_generator(tmp_path / "x.pkl")


def test_hostile_module_source_is_dropped_unread(trap: Path, tmp_path: Path) -> None:
    source = f"open({str(trap)!r}, 'w').write('executed')"
    write_nvidia(tmp_path / "x.pkl", {"mapping.w_avg": torch.zeros(2)}, {}, source=source)
    with pytest.raises(ModelError, match="no StyleGAN2 or StyleGAN3"):
        load_generator(tmp_path / "x.pkl")
    assert not trap.exists()


def test_an_allowed_object_deep_inside_a_foreign_one_does_not_help(trap: Path, tmp_path: Path) -> None:
    with foreign_modules():
        content = pickle.dumps({"G_ema": Reduce(*touch(str(trap))), "a": np.zeros(3)}, protocol=4)
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UnsafeCheckpointError, match=r"posix\.system|nt\.system"):
        load_generator(tmp_path / "x.pkl")
    assert not trap.exists()


# --- bombs: sizes are checked before memory is taken ------------------------------------------------------------------


def tensor(numel: int, size: bytes, stride: bytes) -> bytes:
    storage = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + number(numel) + b"tQ"
    inner = named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"K\0" + size + stride + b"\x89Nt" + b"R."
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    data = struct.pack("<q", numel) + b"\0" * (4 * min(numel, 64))
    return b"".join(dumped(value, 2) for value in head) + PROTO + inner + dumped(["0"], 2) + data


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def zip_overlap() -> bytes:
    content = bytearray(archive(dumped({"a": 1})))
    position = content.rindex(b"PK\x01\x02")
    struct.pack_into("<II", content, position + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(content)


BOMBS: dict[str, Callable[[], bytes]] = {
    "bytes of 10^12": lambda: PROTO + b"\x8e" + struct.pack("<Q", 10**12) + b"x.",
    "text of 10^12": lambda: PROTO + b"\x8d" + struct.pack("<Q", 10**12) + b"x.",
    "bytearray of 2^62": lambda: b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.",
    "bytes of 2^64 - 1": lambda: PROTO + b"\x8e" + b"\xff" * 8 + b"x.",
    "text of a negative size": lambda: PROTO + b"T" + struct.pack("<i", -5) + b"x.",
    "a frame of 2^63": lambda: PROTO + b"\x95" + struct.pack("<Q", 2**63) + b"N.",
    "an integer of 2^31 bytes": lambda: PROTO + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "an integer of a negative size": lambda: PROTO + b"\x8b" + struct.pack("<i", -1) + b"\x01.",
    "a decimal integer of 60,000 digits": lambda: b"L" + b"9" * 60_000 + b"L\n.",
    "a line without an end": lambda: b"S'" + b"x" * 200_000,
    "memo entry 2^32 - 1 on an empty stack": lambda: PROTO + b"r\xff\xff\xff\xff.",
    "a negative memo entry": lambda: b"Np-5\n.",
    "a memo entry that is not there": lambda: PROTO + b"h\x07.",
    "marks without an end": lambda: PROTO + b"(" * 300_000 + b".",
    "a mark that is not there": lambda: PROTO + b"t.",
    "nested tuples as a key": lambda: PROTO + b"}" + b")" + b"\x85" * 300_000 + b"Ns.",
    "a key that cannot be hashed": lambda: PROTO + b"}]Ns.",
    "integers that share one hash": lambda: PROTO + b"}\x8a\x09" + b"\0" * 7 + b"\x20\0" + b"Ns.",
    "a list that holds itself": lambda: PROTO + b"]\x94h\0a.",
    "a dictionary that holds itself": lambda: PROTO + b"}\x94" + text("G_ema") + b"h\0s.",
    "lists that double forty times": lambda: PROTO + b"]\x94" + b"".join(
        b"]\x94" + (b"h" + bytes([i])) * 2 + b"\x86a" for i in range(40)) + b".",
    "text that is encoded again and again": lambda: (
        PROTO + text("x" * 10**4) + b"\x940(" + (named("_codecs", "encode") + b"h\0" + text("latin1") + b"\x86R") * 5000
        + b"l."),
    "a tuple that is copied again and again": lambda: (
        PROTO + b"(" + b"K\1" * 10**5 + b"l\x940(" + (named("builtins", "set") + b"h\0\x85R") * 200 + b"l."),
    "an array of 10^12 elements": lambda: (
        PROTO + named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\0\x85C\x01b\x87R"
        + b"(K\1" + number(10**12) + b"\x85" + named("numpy", "dtype") + text("f4") + b"\x85R\x89C\x04\0\0\0\0tb."),
    "an array of negative shape": lambda: (
        PROTO + named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\0\x85C\x01b\x87R"
        + b"(K\1" + number(-1) + b"\x85" + named("numpy", "dtype") + text("f4") + b"\x85R\x89C\x04\0\0\0\0tb."),
    "an array of 200 dimensions": lambda: (
        PROTO + named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\0\x85C\x01b\x87R"
        + b"(K\1(" + b"K\1" * 200 + b"t" + named("numpy", "dtype") + text("f4") + b"\x85R\x89C\x04\0\0\0\0tb."),
    "a storage of 10^12 elements": lambda: tensor(10**12, number(4) + b"\x85", b"K\1\x85"),
    "a tensor of 10^12 elements": lambda: tensor(16, number(10**12) + b"\x85", b"K\1\x85"),
    "a tensor of 10^12 elements with stride 0": lambda: tensor(16, number(10**12) + b"\x85", b"K\0\x85"),
    "a tensor of negative stride": lambda: tensor(16, b"K\4\x85", number(-1) + b"\x85"),
    "a tensor beyond its storage": lambda: tensor(16, b"K\4\x85", b"K\7\x85"),
    "shape and stride of other lengths": lambda: tensor(16, b"K\4\x85", b"K\1K\1\x86"),
    "a zip entry of 4 GB": zip_overlap,
    "a zip with a wrong checksum": lambda: archive(dumped({"a": "beef"})).replace(b"beef", b"dead"),
    "a zip of zeros": lambda: b"PK\x03\x04" + zlib.compress(b"\0" * 10**6),
    "a zip directory that lies": lambda: archive(dumped({}))[:-10] + b"\xff" * 10,
    "a safetensors header of 2^62": lambda: struct.pack("<Q", 2**62) + b"{}",
    "a safetensors header of nested brackets": lambda: struct.pack("<Q", 10**5) + b'{"a":' + b"[" * (10**5 - 5),
    "instructions without end": lambda: PROTO + b"N0" * (MAX_OPCODES // 2 + 1) + b"N.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_defused_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    content = BOMBS[name]()
    (tmp_path / "x.pkl").write_bytes(content)
    traced = len(content) < 100_000  # tracing slows instructions down twentyfold, and these are bounded in number
    if traced:
        tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            load_generator(tmp_path / "x.pkl")
        assert not traced or tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_modules_that_contain_themselves_have_an_end(tmp_path: Path) -> None:
    state = {"_modules": {}, "_parameters": {}, "_buffers": {}}
    state["_modules"]["again"] = None
    write_nvidia(tmp_path / "x.pkl", {"mapping.w_avg": torch.zeros(2)}, {})
    module = (
        named("torch_utils.persistence", "_reconstruct_persistent_obj")
        + b"}" + text("type") + text("class") + b"s" + text("class_name") + text("G") + b"s"
        + text("state") + b"}\x94" + text("_modules") + b"}\x94ss\x85R\x94"
    )  # fmt: skip
    content = PROTO + module + b"0h\x01" + text("a") + b"h\x02s" + text("b") + b"h\x02s0h\x02."
    (tmp_path / "y.pkl").write_bytes(content)
    with pytest.raises(ModelError, match="tree of modules has no end"):
        load_generator(tmp_path / "y.pkl")


def test_one_storage_behind_many_tensors_stays_within_the_budget(tmp_path: Path) -> None:
    shared = torch.zeros(4_000_000)
    torch.save({"g_ema": {"input.input": shared, "style.1.weight": shared, "conv1.conv.weight": shared}
                | {f"x{i}": shared for i in range(500)}}, tmp_path / "x")  # fmt: skip
    with pytest.raises(ModelError, match="unfold to far more than the file"):
        load_generator(tmp_path / "x")
