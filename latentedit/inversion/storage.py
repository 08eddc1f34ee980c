"""The file of an inversion: one archive of tensors with metadata, checked when it is read.

Legend: ``N`` rows, ``L`` style layers, ``D`` width of w, ``R`` resolution.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentedit.codes import Code
from latentedit.errors import LatentError
from latentedit.files import is_special, save_tensors

FORMAT = "latentedit"
KIND = "inversion"
VERSION = 1
_FURTHEST = 1e4
"""No latent has such values: those of W are of the order of 1, and of 100 where an edit goes much too far."""


def write_archive(path: str | os.PathLike[str], tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write an inversion's parts, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    kept = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_tensors(path, kept, {"format": FORMAT, "kind": KIND, "version": str(VERSION), **metadata})


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of an inversion's file.

    Raises:
        LatentError: no such file, no inversion, a damaged one, or one of a newer version.
    """
    if is_special(path):
        raise unreadable(path, OSError())
    try:
        with safe_open(path, "pt") as archive:
            metadata = dict(archive.metadata() or {})
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise unreadable(path, error) from error
    if metadata.get("format") != FORMAT or metadata.get("kind") != KIND:
        raise LatentError(f"{str(path)!r} holds no inversion.", "Give a file that `latentedit invert` wrote.")
    if metadata.get("version") != str(VERSION):
        raise LatentError(f"{str(path)!r} has the unknown version {metadata.get('version')!r}.", "Update latentedit.")
    try:
        check(tensors)
    except (KeyError, ValueError) as error:
        raise damaged(path, error) from error
    return tensors, metadata


def check(tensors: dict[str, Tensor]) -> None:
    """Raise ValueError or KeyError where a tensor has a shape or values that no inversion has."""
    ws = tensors["ws"]
    if ws.ndim != 3 or len(ws) != 1:
        raise ValueError(f"ws has shape {list(ws.shape)}")
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} is not finite")
        if name.startswith("noise.") and (value.ndim != 4 or len(value) != 1):
            raise ValueError(f"{name} has shape {list(value.shape)}")
        if name.startswith("delta.left."):
            right = tensors[name.replace("left", "right", 1)]
            if value.ndim != 2 or right.ndim != 2 or value.shape[1] != right.shape[0]:
                raise ValueError(f"{name} has shape {list(value.shape)}")
    if ws.abs().max() > _FURTHEST:
        raise ValueError(f"ws reaches {float(ws.abs().max()):.3g}")
    if "quad" in tensors and (tensors["quad"].shape != (4, 2) or not _encloses(tensors["quad"])):
        raise ValueError("quad encloses nothing")


def _encloses(quad: Tensor) -> bool:
    """Whether the first three corners [4,2] span a face of at least a pixel."""
    (a, b), (c, d) = quad[1] - quad[0], quad[3] - quad[0]
    return abs(float(a * d - b * c)) >= 1


def code_tensors(code: Code) -> dict[str, Tensor]:
    """The tensors of a code of one row, as an inversion's file names them."""
    tensors = {"ws": code.ws, **{f"noise.{name}": value for name, value in code.noise.items()}}
    for name, (left, right) in (code.deltas[0] if code.deltas else {}).items():
        tensors |= {f"delta.left.{name}": left, f"delta.right.{name}": right}
    return tensors


def code_of(tensors: dict[str, Tensor]) -> Code:
    """The code in an inversion's tensors."""
    names = [name.removeprefix("delta.left.") for name in tensors if name.startswith("delta.left.")]
    delta = {name: (tensors[f"delta.left.{name}"], tensors[f"delta.right.{name}"]) for name in names}
    noise = {name.removeprefix("noise."): value for name, value in tensors.items() if name.startswith("noise.")}
    return Code(tensors["ws"], noise, (delta,) if delta else ())


def pixels_of(picture: Image.Image) -> Tensor:
    """An RGB picture as uint8 [H,W,3]."""
    return torch.from_numpy(np.array(picture))


def picture_of(pixels: Tensor) -> Image.Image:
    """The RGB picture of uint8 [H,W,3].

    Raises:
        ValueError: another shape or type.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a picture has {pixels.dtype} of shape {list(pixels.shape)}")
    return Image.fromarray(pixels.numpy())


def damaged(path: str | os.PathLike[str], error: Exception) -> LatentError:
    """The error that says what is wrong with the content of a file."""
    return LatentError(f"{str(path)!r} is damaged ({type(error).__name__}: {error}).", "Invert again.")


def unreadable(path: str | os.PathLike[str], error: Exception) -> LatentError:
    """The error that says that a file is missing or of another kind."""
    if is_special(path):
        return LatentError(f"{str(path)!r} is a pipe or a device, no file.", "Save it into a file first.")
    if not Path(path).is_file():
        return LatentError(f"There is no file {str(path)!r}.", "Check the path.")
    return LatentError(f"{str(path)!r} cannot be read as latents: {error}.", "Give a file written by an inversion.")
