"""Open a foreign checkpoint: its kind is told by its content, never by its name."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentedit.checkpoints.checkpoint import Checkpoint, TensorReader, not_understood
from latentedit.checkpoints.mobile.openvino import is_ir
from latentedit.checkpoints.mobile.sources import HEAD, holds_graphs, read_folder, read_wheel
from latentedit.checkpoints.mobile.student import is_student, read_student
from latentedit.checkpoints.nvidia import is_module, read_nvidia
from latentedit.checkpoints.pickles.archive import LEGACY_MAGIC, read_archive, read_pickle
from latentedit.checkpoints.pickles.arrays import ArrayStub, TensorStub
from latentedit.checkpoints.plain import is_plain, read_plain
from latentedit.checkpoints.psp import is_psp, read_psp
from latentedit.checkpoints.rosinality import from_rosinality, is_rosinality
from latentedit.checkpoints.tensorflow import is_network, read_tensorflow
from latentedit.errors import ModelError
from latentedit.files import read_tensors

_WRAPPERS = ("g_ema", "G_ema", "params_ema", "generator", "state_dict")
_FOREIGN_CONTENT = (
    (
        b"<",
        "an HTML or XML page, not a checkpoint",
        "The download failed: fetch the file again, in a browser if need be.",
    ),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run `git lfs pull`, or download the file."),
    (b"\x89PNG", "a picture", "Pass it as the photo, not as the model."),
    (b"\xff\xd8\xff", "a picture", "Pass it as the photo, not as the model."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\x89HDF", "an HDF5 file", "Convert it with the tool that wrote it."),
    (b"\x93NUMPY", "a numpy array", "Import a direction with `latentedit-direction import`."),
)


def is_safetensors(path: Path) -> bool:
    """Whether ``path`` begins as a safetensors file: the length of a header, and the header's brace."""
    with _opened(path) as head:
        return len(head) >= 10 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= path.stat().st_size


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Generator, and encoder if there is one, of a foreign checkpoint. Nothing in the file is executed.

    ``path`` is a file, or a folder that `is_checkpoint_folder` accepts.

    Raises:
        UnsafeCheckpointError: a pickle that asks for something outside the allow-list.
        ModelError: no checkpoint, a kind that is not read, or a damaged file.
    """
    path = Path(path)
    origin = repr(str(path))
    if path.is_dir():
        return read_folder(path)
    if is_safetensors(path):
        return _from_value(read_tensors(path), TensorReader(origin, path.stat().st_size))
    graphs = _graphs(path, origin)
    if graphs is not None:
        return graphs
    with mapped(path) as data:
        return _from_value(read_value(data, origin), TensorReader(origin, len(data)))


def is_checkpoint_folder(path: Path) -> bool:
    """Whether a foreign checkpoint fills a folder: the graphs of a MobileStyleGAN."""
    return path.is_dir() and holds_graphs(path)


def _graphs(path: Path, origin: str) -> Checkpoint | None:
    """The MobileStyleGAN whose graphs ``path`` packs, or is one of (named by its .xml or its .bin); else None."""
    with _stream(path) as stream:
        head = stream.read(HEAD)
        if head[:4] == b"PK\x03\x04":
            return read_wheel(stream, origin)
    twin = path.with_suffix(".xml")
    beside = path.suffix == ".bin" and twin.is_file()
    return read_folder(path.parent) if is_ir(head) or (beside and is_checkpoint_folder(path.parent)) else None


def read_value(data: memoryview, origin: str) -> Any:
    """What a pickle or an archive of ``torch.save`` holds, as plain values and stand-ins that view ``data``."""
    for magic, what, remedy in _FOREIGN_CONTENT:
        if bytes(data[:64]).lstrip().startswith(magic):
            raise ModelError(f"{origin} is {what}.", remedy)
    if bytes(data[:4]) == b"PK\x03\x04":
        return read_archive(data, origin=origin)
    value = read_pickle(data, origin=origin)
    return read_archive(data, origin=origin) if value == LEGACY_MAGIC else value


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The bytes of a file as a view that costs memory only where it is read.

    Raises:
        ModelError: there is no such file, it is empty, or it cannot be read.
    """
    with _stream(path) as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            raise ModelError(f"{str(path)!r} is empty.", "Copy or download it again.")
        # No explicit close: stand-ins may still hold views, and the last of them closes the mapping.
        yield memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


@contextmanager
def _opened(path: Path) -> Iterator[bytes]:
    with _stream(path) as stream:
        yield stream.read(16)


@contextmanager
def _stream(path: Path) -> Iterator[Any]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}.", "Check the path.") from error
    with stream:
        yield stream


def _from_value(value: Any, read: TensorReader) -> Checkpoint:
    """The checkpoint in ``value``, by what it is made of."""
    if is_module(value):
        return read_nvidia(value, read)
    if is_network(value):
        return read_tensorflow(value, read)
    if isinstance(value, tuple | list):
        networks = [item for item in value[:8] if is_network(item)]
        if networks:
            return read_tensorflow(networks[-1], read)  # (G, D, Gs)
        raise not_understood(read.origin, f"a list of {len(value)} entries")
    if isinstance(value, dict):
        return _from_dict(value, read)
    if isinstance(value, TensorStub | ArrayStub):
        raise not_understood(read.origin, "a single tensor, perhaps a direction (see `latentedit-direction import`)")
    raise not_understood(read.origin, f"a {type(value).__name__}")


def _from_dict(value: dict[Any, Any], read: TensorReader) -> Checkpoint:
    if is_module(value.get("G_ema")):
        return read_nvidia(value["G_ema"], read)
    if is_psp(value):
        return read_psp(value, read)
    inner = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)), value)
    if is_student(inner):
        return read_student(inner, read)
    if is_rosinality(inner):
        average = value.get("latent_avg")
        return from_rosinality(read.all(inner), None if average is None else read(average, "latent_avg"), read.origin)
    if is_plain(inner):
        return read_plain(inner, read)
    if is_module(inner.get("G_ema")):
        return read_nvidia(inner["G_ema"], read)
    keys = ", ".join(str(key)[:40] for key in list(value)[:6] if isinstance(key, str))
    raise not_understood(read.origin, f"a dictionary with the keys {keys or 'of no text'}")
