"""Files of inversions, and of the latents that other projects write.

Legend: ``N`` latents, ``L`` style layers, ``D`` width of w, ``R`` resolution.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentedit.errors import FingerprintError, LatentError, ModelError
from latentedit.files import atomic_path, save_tensors
from latentedit.images import to_pil
from latentedit.inversion.inversion import Inversion, PhotoReference, fingerprint_of, render
from latentedit.latents import check_ws
from latentedit.models.export import read_npy

FORMAT = "latentedit"
KIND = "inversion"
VERSION = 1


def save_inversion(inversion: Inversion, path: str | os.PathLike[str], *, embed_photo: bool | None = None) -> None:
    """Write ``inversion`` to ``path``; see `Inversion.save`."""
    if Path(path).suffix.lower() == ".npz":
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, w=inversion.ws.cpu().numpy())
        return
    photo = inversion.photo
    if photo is not None and embed_photo:
        photo = photo.embedded()
    tensors = _tensors(inversion)
    if photo is not None and photo.data is not None and embed_photo is not False:
        tensors["photo"] = torch.frombuffer(bytearray(photo.data), dtype=torch.uint8)
    metadata = {
        "format": FORMAT,
        "kind": KIND,
        "version": str(VERSION),
        "fingerprint": inversion.fingerprint,
        "model": inversion.model,
        "settings": json.dumps(inversion.settings),
        "metrics": json.dumps(inversion.metrics),
    }
    if inversion.aligned is not None:
        metadata["template"] = json.dumps(inversion.aligned.template.to_dict())
    if photo is not None and photo.path is not None:
        metadata |= {"photo_path": photo.path, "photo_sha256": photo.sha256 or ""}
    save_tensors(path, tensors, metadata)


def _tensors(inversion: Inversion) -> dict[str, Tensor]:
    tensors = {"ws": inversion.ws}
    tensors |= {f"noise.{name}": value for name, value in inversion.noise.items()}
    for name, (left, right) in inversion.delta.items():
        tensors |= {f"delta.left.{name}": left, f"delta.right.{name}": right}
    for name in ("image", "target"):
        tensors[name] = torch.from_numpy(np.array(getattr(inversion, name)))
    if inversion.aligned is not None:
        for name in ("quad", "landmarks"):
            tensors[name] = torch.from_numpy(np.array(getattr(inversion.aligned, name), dtype=np.float64))
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def load_inversion(path: str | os.PathLike[str], generator: Any = None) -> Inversion:
    """Read an inversion, or a single latent with the ``generator`` (or model) it belongs to; see `Inversion.load`."""
    if Path(path).suffix.lower() != ".safetensors":
        return _from_latents(path, generator)
    try:
        with safe_open(path, "pt") as archive:
            metadata = dict(archive.metadata() or {})
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if metadata.get("format") != FORMAT or metadata.get("kind") != KIND:
        raise LatentError(f"{str(path)!r} holds no inversion.", "Give a file that `latentedit invert` wrote.")
    if metadata.get("version") != str(VERSION):
        raise LatentError(f"{str(path)!r} has the unknown version {metadata.get('version')!r}.", "Update latentedit.")
    try:
        inversion = _parse(metadata, tensors)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LatentError(f"{str(path)!r} is damaged ({type(error).__name__}: {error}).", "Invert again.") from error
    if generator is not None:
        inversion.check(generator)
    return inversion


def _parse(metadata: dict[str, str], tensors: dict[str, Tensor]) -> Inversion:
    from latentedit.faces import AlignedFace, CropTemplate

    ws = tensors["ws"]
    if ws.ndim != 3 or not bool(torch.isfinite(ws).all()):
        raise ValueError("ws is no finite [1,L,D]")
    aligned = None
    target = _picture(tensors["target"])
    if "quad" in tensors:
        template = CropTemplate.from_dict(json.loads(metadata["template"]))
        aligned = AlignedFace(target, tensors["quad"].numpy(), tensors["landmarks"].numpy(), template)
    data = tensors["photo"].numpy().tobytes() if "photo" in tensors else None
    photo = None
    if data is not None or "photo_path" in metadata:
        photo = PhotoReference(metadata.get("photo_path"), metadata.get("photo_sha256") or None, data)
    left = {name.removeprefix("delta.left."): name for name in tensors if name.startswith("delta.left.")}
    return Inversion(
        ws=ws,
        noise={name.removeprefix("noise."): value for name, value in tensors.items() if name.startswith("noise.")},
        image=_picture(tensors["image"]),
        target=target,
        metrics=json.loads(metadata["metrics"]),
        fingerprint=metadata["fingerprint"],
        model=metadata["model"],
        settings=json.loads(metadata["settings"]),
        aligned=aligned,
        photo=photo,
        delta={name: (tensors[key], tensors[f"delta.right.{name}"]) for name, key in left.items()},
    )


def _picture(pixels: Tensor) -> Image.Image:
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a picture has {pixels.dtype} of shape {list(pixels.shape)}")
    return Image.fromarray(pixels.numpy())


def _from_latents(path: str | os.PathLike[str], generator: Any) -> Inversion:
    if generator is None:
        raise FingerprintError(f"{str(path)!r} does not say which generator it is of.", "Give it with generator=.")
    network = getattr(generator, "generator", generator)
    latents = load_latents(path)
    if len(latents) != 1:
        raise LatentError(f"{str(path)!r} holds {len(latents)} latents.", "Read them with load_latents.")
    ws = check_ws(next(iter(latents.values())), network.num_ws, network.w_dim)
    image = to_pil(render(network, ws, {}))[0]
    return Inversion(
        ws=ws, noise={}, image=image, target=image, metrics={}, fingerprint=fingerprint_of(generator),
        model=getattr(generator, "name", ""), settings={"method": "loaded"},
    )  # fmt: skip


def load_latents(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Latents in the forms that other projects write, by name, each float32 [1,L,D] ([1,1,D] of a single w).

    Reads ``projected_w.npz`` (key ``w``), dictionaries of arrays by photo (``latents.npz``, ``latents.npy``), arrays,
    tensors ``.pt`` [N,L,D], rosinality's ``.pt`` (``{photo: {"latent": ...}}``), and ``ws`` of an inversion.
    Nothing in a file is ever executed.

    Raises:
        LatentError: no such file, or one that holds no latents.
    """
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".safetensors":
            found: Any = {Path(path).stem: load_inversion(path).ws}
        elif suffix == ".npz":
            with open(path, "rb") as stream:
                found = dict(np.load(stream, allow_pickle=False))
        elif suffix == ".npy":
            found = read_npy(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError, ValueError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError, ModelError
    ) as error:  # fmt: skip
        raise _unreadable(path, error) from error
    return _named(found, Path(path))


def _named(found: Any, path: Path) -> dict[str, Tensor]:
    remedy = "Latents are [N,L,D] or [L,D]; see the documentation of load_latents."
    if not isinstance(found, Mapping):
        found = {"w": found}
    result: dict[str, Tensor] = {}
    for key, value in found.items():
        if isinstance(value, Mapping):
            value = value.get("latent", value.get("w"))
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


def _unreadable(path: str | os.PathLike[str], error: Exception) -> LatentError:
    if not Path(path).is_file():
        return LatentError(f"There is no file {str(path)!r}.", "Check the path.")
    return LatentError(f"{str(path)!r} cannot be read as latents: {error}.", "Give a file written by an inversion.")
