"""From what users hand in to the crops that are inverted.

Legend: ``R`` resolution of the generator.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit import faces, images
from latentedit.errors import FaceError, ImageError
from latentedit.faces import AlignedFace
from latentedit.images import ImageSource, load_image, to_tensor
from latentedit.inversion.reference import PhotoReference
from latentedit.models import Model

Photo: TypeAlias = "ImageSource | AlignedFace"
Region: TypeAlias = "np.ndarray | Tensor | Image.Image"


@dataclass(frozen=True)
class Portrait:
    """One face to invert: its crop, where it came from, and what of it counts (``weights`` [1,1,R,R] or None)."""

    name: str
    crop: Image.Image
    aligned: AlignedFace | None
    photo: PhotoReference | None
    weights: Tensor | None

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The crop [1,3,R,R] in [-1,1], and the weights, on ``device``."""
        return to_tensor(self.crop).to(device), None if self.weights is None else self.weights.to(device)


def is_several(image: object) -> TypeGuard[list[Photo] | tuple[Photo, ...] | np.ndarray]:
    """Whether ``image`` is a list (or a uint8 array [N,H,W,3]) rather than one photo."""
    return isinstance(image, list | tuple) or (isinstance(image, np.ndarray) and image.ndim == 4)


def gather(image: Photo, *, model: Model, face: int | str | None, region: Region | None = None) -> list[Portrait]:
    """The faces of one photo, as crops by the model's template.

    ``image`` is a path, a `latentedit.images.Photo`, a PIL image, a uint8 array, or an `AlignedFace`. ``face`` is 1 for
    the largest, 2, ..., "all", or None for a photo that is a crop already. ``region`` [H,W] of the photo's size, in
    [0,1] (or 0-255 where uint8, as an ``L`` image), says how much each pixel counts.

    Raises:
        ImageError: the photo cannot be read, or the region does not fit it.
        FaceError: no face, or fewer than asked for.
    """
    resolution = model.generator.resolution
    if isinstance(image, AlignedFace):
        return [_from_aligned(image, model, region)]
    if face is not None and face != "all" and (isinstance(face, bool) or not isinstance(face, int) or face < 1):
        raise FaceError(f"face={face!r} is no face.", "Give 1 for the largest, 2, ..., 'all', or None for a crop.")
    photo = load_image(image)
    path = image.path if isinstance(image, images.Photo) else image
    is_file = isinstance(path, str | os.PathLike)
    name = Path(path).stem if is_file else "face"
    if face is None:
        crop = photo if photo.size == (resolution, resolution) else _square(photo, resolution)
        reference = PhotoReference.of_file(path) if is_file else None
        return [Portrait(name, crop, None, reference, _crop_weights(region, photo, resolution))]
    try:
        found = faces.align_photo(photo, model.template, resolution, face="all" if face == "all" else face)
    except FaceError as error:
        raise FaceError(
            f"{name}: {error.problem}" if is_file else error.problem, error.remedy, typed=error.typed
        ) from error
    several = isinstance(found, list)
    reference = PhotoReference.of_file(path) if is_file else PhotoReference.of_image(photo)
    return [
        Portrait(
            f"{name}-{i}" if several else name, item.crop, item, reference, _photo_weights(region, item, resolution)
        )
        for i, item in enumerate(found if isinstance(found, list) else [found], start=1)
    ]


def _from_aligned(aligned: AlignedFace, model: Model, region: Region | None) -> Portrait:
    resolution = model.generator.resolution
    if aligned.template != model.template:
        raise FaceError(
            f"The face was cropped by {aligned.template}, and the model {model.name!r} wants {model.template}.",
            "Align it with the model's template.",
        )
    photo = None if aligned.photo is None else PhotoReference.of_image(aligned.photo)
    if aligned.crop.size != (resolution, resolution):
        aligned = replace(aligned, crop=_square(aligned.crop, resolution))
    weights = None if aligned.photo is None else _photo_weights(region, aligned, resolution)
    return Portrait("face", aligned.crop, aligned, photo, weights)


def _square(photo: Image.Image, size: int) -> Image.Image:
    if photo.width != photo.height:
        raise ImageError(
            f"A crop of {photo.width} x {photo.height} pixels is not square.", "Let the face be found with face=1."
        )
    return photo.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _as_map(region: Region, photo: Image.Image) -> Image.Image:
    """The region as an ``L`` image of the photo's size."""
    if isinstance(region, Image.Image):
        region = np.asarray(region.convert("L"))
    values = np.asarray(region.detach().cpu() if isinstance(region, Tensor) else region).squeeze()
    if values.shape != (photo.height, photo.width):
        raise ImageError(
            f"A region of shape {list(values.shape)} does not fit a photo of {photo.width} x {photo.height} pixels.",
            f"Give one weight per pixel, [{photo.height}, {photo.width}].",
        )
    if values.dtype != np.uint8:
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ImageError("A region holds values outside [0,1].", "0 is ignored, 1 counts in full.")
        values = (values * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(values)


def _crop_weights(region: Region | None, photo: Image.Image, size: int) -> Tensor | None:
    if region is None:
        return None
    return _to_weights(_as_map(region, photo).resize((size, size), Image.Resampling.BOX))


def _photo_weights(region: Region | None, aligned: AlignedFace, size: int) -> Tensor | None:
    if region is None or aligned.photo is None:
        return None
    whole = _as_map(region, aligned.photo).convert("RGB")
    return _to_weights(faces.align(whole, aligned.landmarks, aligned.template, size).crop.convert("L"))


def _to_weights(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None, None]
