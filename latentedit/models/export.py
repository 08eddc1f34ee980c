"""Latents and directions in the shapes that other projects read.

Legend: ``L`` style layers, ``D`` width of w.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentedit.checkpoints.checkpoint import TensorReader
from latentedit.checkpoints.pickles.archive import read_archive, read_pickle
from latentedit.checkpoints.pickles.arrays import ArrayStub, TensorStub
from latentedit.checkpoints.recognise import is_safetensors
from latentedit.errors import LatentError
from latentedit.files import atomic_path, read_metadata, read_tensors
from latentedit.latents import save_ws
from latentedit.models.network_file import FORMAT

_KINDS = ("inversion", "direction")


def is_exchangeable(path: Path) -> bool:
    """Whether ``path`` is an inversion or a direction of ours."""
    if not is_safetensors(path):
        return False
    metadata = read_metadata(path)
    return metadata.get("format") == FORMAT and metadata.get("kind") in _KINDS


def export(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str:
    """Write the inversion or direction ``source`` as ``target`` by its suffix; return what was written, in words.

    Inversions: ``.npz`` is NVIDIA's ``projected_w.npz`` (key ``w`` [1,L,D]), ``.pt`` rosinality's
    ``{name: {"latent": [L,D], "noise": [...]}}``, ``.npy`` the bare [1,L,D].
    Directions: ``.npy`` is InterFaceGAN's boundary [1,D], or [1,L,D] where layers differ; ``.pt`` the same as a tensor.

    Raises:
        LatentError: another kind of file or suffix.
    """
    path, out = Path(source), Path(target)
    kind = read_metadata(path).get("kind")
    tensors = read_tensors(path)
    suffix = out.suffix.lower()
    if kind == "inversion" and suffix == ".npz":
        save_ws(out, tensors["ws"])
        return "NVIDIA's projected_w.npz"
    if kind == "inversion" and suffix == ".npy":
        return _numpy(out, tensors["ws"].numpy(), f"array {list(tensors['ws'].shape)}")
    if kind == "inversion" and suffix == ".pt":
        noise = [value for name, value in tensors.items() if name.startswith("noise.")]
        return _torch(out, {path.stem: {"latent": tensors["ws"][0], "noise": noise}}, "rosinality's projection")
    if kind == "direction" and suffix in (".npy", ".pt"):
        normal = tensors["normal"].float()
        shaped = normal.reshape(1, *normal.shape)
        words = f"boundary {list(shaped.shape)}"
        return _numpy(out, shaped.numpy(), words) if suffix == ".npy" else _torch(out, shaped, words)
    raise LatentError(
        f"An {kind or 'unknown file'} is not written as {suffix or 'a file without suffix'!r}.",
        "Inversions go to .npz, .npy or .pt; directions to .npy or .pt.",
    )


def read_npy(path: str | os.PathLike[str]) -> Any:
    """The array in a ``.npy`` file, or the dictionary of tensors that ``numpy.save`` pickled into it.

    HyperStyle and StyleGAN3-editing keep latents by photo in such dictionaries. Nothing of the file is executed.

    Raises:
        ModelError: a pickle that asks for more than arrays (`UnsafeCheckpointError`), or a damaged one.
        ValueError: no ``.npy`` file.
    """
    with open(path, "rb") as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if not header(stream)[2].hasobject:
            stream.seek(0)
            return np.load(stream, allow_pickle=False)
        content = stream.read()
    value = read_pickle(memoryview(content), origin=repr(os.fspath(path)))
    return _plain(value, TensorReader(repr(os.fspath(path)), len(content)))


def read_pt(path: str | os.PathLike[str]) -> Any:
    """The tensors that ``torch.save`` wrote, in the dictionaries and lists that they lie in; nothing is executed.

    Raises:
        ModelError: a pickle that asks for more than tensors (`UnsafeCheckpointError`), or a damaged one.
    """
    content, origin = Path(path).read_bytes(), repr(os.fspath(path))
    return _plain(read_archive(memoryview(content), origin=origin), TensorReader(origin, len(content)))


def _plain(value: Any, read: TensorReader, depth: int = 0) -> Any:
    if isinstance(value, dict) and depth < 3:
        return {key: _plain(item, read, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, ArrayStub | TensorStub) and depth < 3:
        return [_plain(item, read, depth + 1) for item in value]
    return read(value, "an entry") if isinstance(value, ArrayStub | TensorStub) else value


def _numpy(path: Path, values: np.ndarray, words: str) -> str:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, values)
    return words


def _torch(path: Path, values: Any, words: str) -> str:
    with atomic_path(path) as temporary:
        torch.save(values, temporary)
    return words
