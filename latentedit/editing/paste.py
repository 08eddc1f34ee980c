"""Edited faces back into their photos, and what of an edit is carried over.

A generator of 64 px cannot draw pores or lashes, and its rebuilding of a face is never quite the photo. But it knows
what an edit changes: the difference between the edited and the unedited render. That difference is what goes into the
photo, and what the generator missed stays as it was photographed, except where the edit is so large that it would
show through: teeth behind closed lips, an eyebrow under the rim of glasses.

Legend: ``N`` faces, ``R`` resolution of the renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from latentedit.cuda_ops.blur import blurred, gaussian_window
from latentedit.errors import FaceError, LatentEditError
from latentedit.faces import AlignedFace, align, paste_back
from latentedit.images import ImageSource, to_pil, to_tensor
from latentedit.inversion import Inversion

Detail = Literal["transfer", "render"]


@dataclass(frozen=True)
class TransferConfig:
    """Local amounts are root mean squares over the channels, with images in [-1,1].

    Changes well below ``floor`` are the generator's restlessness rather than the edit, and are left out. Between
    ``kept`` and ``replaced`` a change of shape takes over: what the photo shows there beyond the unedited render is
    given up, but for its colour and light; a broad change of light or complexion counts by what it exceeds ``light``.
    Where the unedited render is off the photo by more than ``missed`` (in full
    from ``occluded`` on), the photo shows something that the latent does not know, such as a mask that the inversion
    looked through: there the render itself is taken, because a difference means nothing on top of something else.
    """

    floor: float = 0.02
    light: float = 0.25
    kept: float = 0.10
    replaced: float = 0.30
    missed: float = 0.45
    occluded: float = 0.8


def faces_of(
    origins: Sequence[Inversion | None], count: int, photo: ImageSource | None = None
) -> list[tuple[AlignedFace, Image.Image]]:
    """Where each of ``count`` faces lies in its photo, and how its inversion shows it.

    Raises:
        FaceError: a face that comes from no photo. ImageError: a photo that is gone, was changed, or was never kept.
    """
    found = [origin for origin in origins if origin is not None]
    if len(found) != count or not found:
        raise FaceError(
            "These latents come from no photo, so there is nothing to paste them into.",
            "Use .image, or edit inversions.",
        )
    return [(origin.face_in_photo(photo), origin.image) for origin in found]


def paste(
    faces: Sequence[tuple[AlignedFace, Image.Image]],
    pixels: Tensor,
    *,
    detail: Detail = "transfer",
    feather: float | None = None,
) -> Image.Image:
    """Put edited faces ``pixels`` [N,3,R,R] in [-1,1] into their one photo, the first one first; see `Edit.paste_back`.

    ``faces`` are what `faces_of` found.
    """
    if detail not in ("transfer", "render"):
        raise LatentEditError(f"detail={detail!r} is unknown.", "Choose 'transfer' or 'render'.")
    original = faces[0][0].photo
    assert original is not None
    result = original
    options: dict[str, Any] = {} if feather is None else {"feather": feather}
    for (face, unedited), edited in zip(faces, pixels.split(1), strict=True):
        assert face.photo is not None
        if face.photo is not original and not _same(face.photo, original):
            raise FaceError("The edited faces come from different photos.", "Paste each edit back by itself.")
        face = replace(face, photo=result)
        if detail == "render":
            result = paste_back(face, to_pil(edited)[0], keep_detail=False, **options)
        else:
            result = _transfer(face, to_tensor(unedited), edited, options)
    return result


def _same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.tobytes() == other.tobytes()


def _transfer(face: AlignedFace, before: Tensor, after: Tensor, feather: dict[str, Any]) -> Image.Image:
    """Add the change that the edit made; the photo's own detail stays wherever that change is small."""
    assert face.photo is not None
    crop = align(face.photo, face.landmarks, face.template, before.shape[-1]).crop
    changed = transfer_change(to_tensor(crop), before, after.detach().float().cpu())
    return paste_back(face, changed, match_color=False, **feather)


def transfer_change(photo: Tensor, before: Tensor, after: Tensor, config: TransferConfig | None = None) -> Tensor:
    """The crop ``photo`` [1,3,R,R] with the change from ``before`` to ``after`` ([1,3,R,R]) in it; all in [-1,1]."""
    config = config or TransferConfig()
    size = photo.shape[-1]
    change, missed = after - before, photo - before
    amount = blur(change.square().mean(dim=1, keepdim=True), 0.03 * size)
    carried = photo + change * amount / (amount + config.floor**2)
    drawn = after + blur(missed, 0.08 * size)
    # A change of light or complexion moves large areas alike: nothing shows through there.
    structural = torch.maximum((change - blur(change, 0.1 * size)).abs(), change.abs() - config.light)
    result = torch.lerp(carried, drawn, local_share(structural, config.kept, config.replaced))
    return torch.lerp(result, after, local_share(missed, config.missed, config.occluded))


def local_share(difference: Tensor, low: float, high: float) -> Tensor:
    """[1,1,R,R] in [0,1]: from 0 where a ``difference`` [1,3,R,R] is locally below ``low`` to 1 above ``high``.

    Spread by a few hundredths of the picture, so that no outline stays behind.
    """
    size = difference.shape[-1]
    amount = blur(difference.square().mean(dim=1, keepdim=True), 0.03 * size).sqrt()
    share = ((amount - low) / (high - low)).clamp(0, 1)
    radius = max(1, round(0.03 * size))
    spread = F.max_pool2d(share, 2 * radius + 1, stride=1, padding=radius)
    return blur(spread, 0.02 * size).clamp(0, 1)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur [N,C,H,W] with reflected borders."""
    radius = min(int(np.ceil(3 * sigma)), images.shape[-1] - 1, images.shape[-2] - 1)
    if radius < 1:
        return images
    return blurred(images, gaussian_window(2 * radius + 1, sigma, images), border="reflect")
