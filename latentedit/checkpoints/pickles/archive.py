"""Archives of ``torch.save``, both formats, read without torch's unpickler: plain values and stand-ins.

Zip format (torch 1.6 and later): ``<name>/data.pkl`` and one stored, uncompressed entry ``<name>/data/<key>`` per
storage. Legacy format: five pickles in a row (magic number, protocol, system, the object, storage keys), then for each
key its element count (int64) and its bytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import torch

from latentedit.checkpoints.pickles.allowed import NAMES, NESTED, allowed, call
from latentedit.checkpoints.pickles.arrays import ArrayStub, StorageStub
from latentedit.checkpoints.pickles.machine import PickleMachine
from latentedit.checkpoints.pickles.stand_ins import Global, damaged, unsafe
from latentedit.errors import ModelError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_ENTRIES = 100_000

Fill = Callable[[str, StorageStub], None]


def read_pickle(data: memoryview, *, origin: str) -> Any:
    """The value of the pickle that ``data`` holds (NVIDIA's and TensorFlow's networks), as stand-ins.

    The array of one object that `numpy.save` wraps around a dictionary is taken off.
    """
    value = PickleMachine(data, origin=origin, call=_call, allowed=allowed).load()
    if isinstance(value, ArrayStub) and value.items is not None and len(value.items) == 1:
        return value.items[0]
    return value


def read_archive(data: memoryview, *, origin: str, nested: bool = False) -> Any:
    """The value that ``torch.save`` wrote into ``data``, as stand-ins. ``nested`` archives may hold no further ones.

    Raises:
        UnsafeCheckpointError: it asks for a global that is not on the allow-list.
        ModelError: damaged, truncated, compressed, or written on a big-endian machine.
    """
    if bytes(data[:4]) == b"PK\x03\x04":
        return _read_zip(data, origin, nested)
    return _read_legacy(data, origin, nested)


def _call(machine: PickleMachine, function: Global, args: tuple[Any, ...]) -> Any:
    """As `call`; a storage that is an archive of its own (NVIDIA's pickles) is read as one."""
    if function != NESTED:
        return call(machine, function, args)
    (data,) = args
    if not isinstance(data, bytes | memoryview):
        raise damaged(machine.origin, "a storage is no block of bytes")
    value = read_archive(memoryview(data), origin=machine.origin, nested=True)
    if not isinstance(value, StorageStub):
        raise damaged(machine.origin, "a nested archive holds no storage")
    return value


def _machine(data: memoryview, origin: str, nested: bool, fill: Fill) -> PickleMachine:
    storages: dict[str, StorageStub] = {}

    def persistent(pid: Any) -> StorageStub:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise unsafe(origin, "a persistent id that is no storage")
        _, kind, key, _, count = pid[:5]
        dtype = NAMES.get(kind) if isinstance(kind, Global) else None
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise damaged(origin, "a storage is described strangely")
        if len(pid) > 5 and pid[5] is not None:
            raise damaged(origin, "a storage is a view of another")
        if key not in storages:
            storages[key] = StorageStub(dtype, count)
            fill(key, storages[key])
        if storages[key].dtype != dtype or storages[key].count != count:
            raise damaged(origin, f"the storage {key!r:.40} is described twice")
        return storages[key]

    def permitted(value: Global) -> bool:
        return allowed(value) and not (nested and value == NESTED)

    return PickleMachine(data, origin=origin, call=_call, allowed=permitted, persistent=persistent)


# --- zip --------------------------------------------------------------------------------------------------------------


def _read_zip(data: memoryview, origin: str, nested: bool) -> Any:
    try:
        archive = zipfile.ZipFile(_View(data))
        entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{origin} is a damaged zip archive: {error}.", "Copy or download it again.") from error
    if len(entries) > MAX_ENTRIES:
        raise damaged(origin, f"it has {len(entries)} entries")
    roots = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if any(name.endswith("/constants.pkl") for name in entries):
        raise unsafe(origin, "TorchScript code")
    if len(roots) != 1:
        raise ModelError(
            f"{origin} is a zip archive without the data of torch.save.", "Unpack it, and name the checkpoint inside."
        )
    root = roots[0].removesuffix("data.pkl")
    order = root + "byteorder"
    if order in entries and bytes(_entry(data, entries[order], origin)) != b"little":
        raise damaged(origin, "it was written on a big-endian machine")

    def fill(key: str, storage: StorageStub) -> None:
        entry = entries.get(f"{root}data/{key}")
        if entry is None:
            raise damaged(origin, f"the storage {key!r:.40} is missing")
        storage.data = _entry(data, entry, origin)
        if len(storage.data) != storage.count * storage.dtype.itemsize:
            raise damaged(origin, f"the storage {key!r:.40} has {len(storage.data)} bytes for {storage.count} elements")

    return _machine(_entry(data, entries[roots[0]], origin), origin, nested, fill).load()


def _entry(data: memoryview, entry: zipfile.ZipInfo, origin: str) -> memoryview:
    """The bytes of a stored entry, as a view; compressed entries are refused, and the checksum is compared."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
        raise unsafe(origin, f"the compressed or encrypted entry {entry.filename!r:.60}")
    header = data[entry.header_offset : entry.header_offset + 30]
    if len(header) < 30 or bytes(header[:4]) != b"PK\x03\x04":
        raise damaged(origin, f"the entry {entry.filename!r:.60} has no header")
    name_size, extra_size = struct.unpack("<HH", header[26:30])
    start = entry.header_offset + 30 + name_size + extra_size
    piece = data[start : start + entry.file_size]
    if len(piece) != entry.file_size or zlib.crc32(piece) != entry.CRC:
        raise damaged(origin, f"the entry {entry.filename!r:.60} is cut short or has a wrong checksum")
    return piece


class _View(io.RawIOBase):
    """A read-only, seekable file over a memoryview, so that `zipfile` copies no more than the directory."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._position, len(self._data))[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        stop = len(self._data) if size is None or size < 0 else self._position + size
        piece = bytes(self._data[self._position : stop])
        self._position += len(piece)
        return piece


# --- legacy -----------------------------------------------------------------------------------------------------------


def _read_legacy(data: memoryview, origin: str, nested: bool) -> Any:
    pending: dict[str, StorageStub] = {}
    machine = _machine(data, origin, nested, pending.__setitem__)
    if machine.load() != LEGACY_MAGIC or machine.load() != LEGACY_PROTOCOL:
        raise damaged(origin, "it is no archive of torch.save")
    system = machine.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise damaged(origin, "it was written on a big-endian machine")
    value = machine.load()
    keys = machine.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(pending):
        raise damaged(origin, "its list of storages does not fit its content")
    position = machine.position
    for key in keys:
        storage = pending[key]
        (count,) = struct.unpack("<q", data[position : position + 8]) if position + 8 <= len(data) else (-1,)
        end = position + 8 + count * storage.dtype.itemsize
        if count != storage.count or end > len(data):
            raise damaged(origin, f"the storage {key!r:.40} is cut short")
        storage.data = data[position + 8 : end]
        position = end
    return value
