"""Arrays out of everybody's files: ``.npy``, ``.npz``, ``.pt``, ``.safetensors``, keyed or not, never executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from latentedit.errors import LatentEditError, LatentError, UnsafeCheckpointError

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every numeric array in ``path`` by its key; one without a key goes by the file's stem. Nested keys are joined
    with dots.

    Raises:
        LatentError: missing, of another kind, damaged, or without arrays.
        UnsafeCheckpointError: a pickle that asks for more than arrays.
    """
    source = Path(path)
    if source.suffix.lower() not in SUFFIXES:
        raise LatentError(f"{str(source)!r} is no file of arrays.", f"Known kinds: {', '.join(SUFFIXES)}.")
    try:
        found = _flatten(_read(source), source.stem)
    except UnsafeCheckpointError:
        raise
    except FileNotFoundError as error:
        raise LatentError(f"There is no file {str(source)!r}.", "Check the path.") from error
    except (LatentEditError, OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        problem = f"{str(source)!r} cannot be read: {error}"
        raise LatentError(problem, "The file is damaged or of another kind.") from error
    if not found:
        raise LatentError(f"{str(source)!r} holds no arrays of numbers.", None)
    return found


def _read(source: Path) -> Any:
    kind = source.suffix.lower()
    if kind == ".safetensors":
        from latentedit.files import read_tensors

        if not source.is_file():
            raise FileNotFoundError(source)
        return read_tensors(source)
    if kind == ".npz":
        with np.load(source, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if archive[name].dtype.kind in "fiub"}
    if kind == ".npy":
        return _read_npy(source)
    from latentedit.checkpoints.pickles.archive import read_archive

    return read_archive(memoryview(source.read_bytes()), origin=repr(str(source)))


def _read_npy(source: Path) -> Any:
    """A plain array, or the pickled dictionary of arrays that ``np.save`` makes of a dict."""
    with source.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = header(stream)
        rest = stream.read() if dtype.hasobject else b""
    if not dtype.hasobject:
        return np.load(source, allow_pickle=False)
    from latentedit.checkpoints.pickles.archive import read_pickle

    return read_pickle(memoryview(rest), origin=repr(str(source)))


def _flatten(value: Any, name: str, depth: int = 0) -> dict[str, np.ndarray]:
    if depth > 4:
        return {}
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            found |= _flatten(item, str(key) if depth == 0 else f"{name}.{key}", depth + 1)
        return found
    if isinstance(value, (list, tuple)):
        found = {}
        for index, item in enumerate(value[:10_000]):
            found |= _flatten(item, f"{name}.{index}" if len(value) > 1 else name, depth + 1)
        return found
    if hasattr(value, "tensor"):  # stand-ins of the safe readers
        value = value.tensor()
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim >= 1:
        return {name: value}
    return {}
