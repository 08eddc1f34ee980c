"""Latents in the files that other projects write.

Legend: ``N`` latents, ``L`` style layers, ``D`` width of w.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentError, ModelError, UnsafeCheckpointError
from latentedit.files import is_special
from latentedit.inversion.storage import read_archive, unreadable
from latentedit.models.export import read_npy, read_pt


def load_latents(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Latents in the forms that other projects write, by name, each float32 [1,L,D] ([1,1,D] of a single w).

    Reads ``projected_w.npz`` (key ``w``), dictionaries of arrays by photo (``latents.npz``, ``latents.npy``), arrays,
    tensors ``.pt`` [N,L,D], rosinality's ``.pt`` (``{photo: {"latent": ...}}``, or one photo's ``{"img", "latent",
    "noise"}``), and ``ws`` of an inversion. Of the passes that ReStyle keeps by photo the last counts. Nothing in a
    file is ever executed.

    Raises:
        LatentError: no such file, or one that holds no latents.
        UnsafeCheckpointError: a pickle that asks for more than arrays.
    """
    suffix = Path(path).suffix.lower()
    if is_special(path):
        raise unreadable(path, OSError())
    try:
        if suffix == ".safetensors":
            found: Any = {Path(path).stem: read_archive(path)[0]["ws"]}
        elif suffix == ".npz":
            with open(path, "rb") as stream:
                found = dict(np.load(stream, allow_pickle=False))
        elif suffix == ".npy":
            found = read_npy(path)
        else:
            found = read_pt(path)
    except UnsafeCheckpointError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile, ModelError) as error:
        raise unreadable(path, error) from error
    return _named(found, Path(path))


def _named(found: Any, path: Path) -> dict[str, Tensor]:
    remedy = "Latents are [N,L,D] or [L,D]; see the documentation of load_latents."
    if isinstance(found, Mapping) and isinstance(found.get("latent"), Tensor | np.ndarray):
        found = found["latent"]
    if not isinstance(found, Mapping):
        found = {"w": found}
    result: dict[str, Tensor] = {}
    for key, value in found.items():
        if isinstance(value, Mapping):
            value = value.get("latent", value.get("w"))
        if isinstance(value, list | tuple) and value:
            value = value[-1]
        if not isinstance(value, Tensor | np.ndarray):
            raise LatentError(f"{str(path)!r}: {str(key)!r} is no array.", remedy)
        tensor = torch.as_tensor(value)
        if not tensor.is_floating_point() or tensor.ndim not in (1, 2, 3) or not tensor.numel():
            raise LatentError(f"{str(path)!r}: {str(key)!r} has shape {list(tensor.shape)}.", remedy)
        rows = tensor.float().reshape(-1, *tensor.shape[-2:]) if tensor.ndim > 1 else tensor.float()[None, None]
        single = len(rows) == 1
        named = path.stem if key == "w" else str(key)
        result |= {named if single else f"{named}-{i}": row[None] for i, row in enumerate(rows)}
    if not result:
        raise LatentError(f"{str(path)!r} holds no latents.", remedy)
    return result
