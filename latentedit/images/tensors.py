"""Image tensors: the one convention of the library.

Shape legend: ``N`` images, ``H`` x ``W`` pixels. Tensors are float32 ``[N,3,H,W]`` in [-1,1], RGB; ``uint8`` images are
``[N,H,W,3]``, and value ``v`` of a tensor becomes ``clamp(v * 127.5 + 128, 0, 255)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from latentedit.errors import ImageError
from latentedit.images.decode import ImageSource, load_image

if TYPE_CHECKING:
    import torch


def to_tensor(images: ImageSource | Sequence[ImageSource], size: int | None = None) -> torch.Tensor:
    """Photos as one float32 tensor ``[N,3,H,W]`` in [-1,1].

    ``images`` is one image or several of the same size; with ``size`` each is scaled (antialiased) to ``size`` squared.
    A uint8 array ``[N,H,W,3]`` is taken as ``N`` images.

    Raises:
        ImageError: no images, images of different sizes, or one that cannot be read.
    """
    import torch

    several = cast("Sequence[ImageSource]", images if _is_several(images) else [images])
    arrays = [np.asarray(load_image(image)) for image in several]
    if not arrays:
        raise ImageError("There are no images.", "Give at least one.")
    shapes = sorted({array.shape for array in arrays})
    if size is None and len(shapes) > 1:
        raise ImageError(f"Images of different sizes {shapes} make no batch.", "Give size=.")
    tensors = [torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0 for array in arrays]
    if size is not None:
        tensors = [resize(tensor, size).clamp(-1, 1) for tensor in tensors]
    return torch.cat(tensors)


def _is_several(images: object) -> bool:
    return isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)


def to_uint8(tensor: torch.Tensor) -> np.ndarray:
    """Tensor ``[N,3,H,W]`` or ``[3,H,W]`` in [-1,1] to uint8 ``[N,H,W,3]``; values outside are clamped.

    Raises:
        ImageError: not a tensor of that shape.
    """
    import torch

    batch = tensor[None] if tensor.ndim == 3 else tensor
    if batch.ndim != 4 or batch.shape[1] != 3:
        raise ImageError(f"A tensor of shape {tuple(tensor.shape)} is no image.", "Give [N,3,H,W] or [3,H,W].")
    scaled = batch.detach().float().mul(127.5).add(128).clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_pil(tensor: torch.Tensor) -> list[Image.Image]:
    """Tensor ``[N,3,H,W]`` or ``[3,H,W]`` in [-1,1] to ``N`` RGB images."""
    return [Image.fromarray(array) for array in to_uint8(tensor)]


def resize(tensor: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """Scale ``[N,C,H,W]`` to ``size`` (square, or height and width): antialiased, differentiable.

    Shrinking by a whole factor averages pixels (area); everything else is antialiased bicubic interpolation.
    """
    import torch.nn.functional as F

    height, width = (size, size) if isinstance(size, int) else size
    if tensor.shape[-2:] == (height, width):
        return tensor
    if tensor.shape[-2] % height == 0 and tensor.shape[-1] % width == 0:
        return F.avg_pool2d(tensor, (tensor.shape[-2] // height, tensor.shape[-1] // width))
    return F.interpolate(tensor, (height, width), mode="bicubic", align_corners=False, antialias=True)
