"""Edited faces back into their photos."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from latentedit.editing.transfer import transfer_change
from latentedit.errors import FaceError, ImageError, LatentEditError
from latentedit.faces import AlignedFace, align, paste_back
from latentedit.images import load_image, to_tensor
from latentedit.inversion import Inversion

if TYPE_CHECKING:
    from latentedit.editing.result import Detail, Edit


def paste(edit: Edit, *, photo: Any = None, detail: Detail = "transfer", feather: float | None = None) -> Image.Image:
    """Put all faces of ``edit`` into their one photo, the first one first; see `Edit.paste_back`."""
    if detail not in ("transfer", "render"):
        raise LatentEditError(f"detail={detail!r} is unknown.", "Choose 'transfer' or 'render'.")
    origins = _origins(edit)
    faces = [aligned_face(origin, photo) for origin in origins]
    result = faces[0].photo
    assert result is not None
    options: dict[str, Any] = {} if feather is None else {"feather": feather}
    for number, (face, origin) in enumerate(zip(faces, origins, strict=True)):
        assert face.photo is not None
        assert faces[0].photo is not None
        if number and (face.photo.size != result.size or face.photo.tobytes() != faces[0].photo.tobytes()):
            raise FaceError("The edited faces come from different photos.", "Paste each edit back by itself.")
        if detail == "render":
            result = paste_back(replace(face, photo=result), edit.images[number], keep_detail=False, **options)
        else:
            before = to_tensor(origin.image)
            result = _transfer(replace(face, photo=result), before, edit.pixels[number : number + 1], options)
    return result


def aligned_face(origin: Inversion, photo: Any = None) -> AlignedFace:
    """Where the face of an inversion lies in its photo, with the photo.

    Raises:
        FaceError: the inversion was made of a crop. ImageError: its photo is gone, was changed, or was never kept.
    """
    if origin.aligned is None:
        raise FaceError("The inversion was made of a crop, so there is no photo to paste into.", "Use .image.")
    if photo is not None:
        return replace(origin.aligned, photo=load_image(photo))
    if origin.aligned.photo is not None:
        return origin.aligned
    if origin.photo is None:
        raise ImageError("The inversion kept no photo.", "Give it with photo= (--photo).")
    return replace(origin.aligned, photo=origin.photo.open())


def _origins(edit: Edit) -> list[Inversion]:
    origins = [origin for origin in edit.before.origins if origin is not None]
    if len(origins) != len(edit) or not origins:
        raise FaceError(
            "These latents come from no photo, so there is nothing to paste them into.",
            "Use .image, or edit inversions.",
        )
    return origins


def _transfer(face: AlignedFace, before: Tensor, after: Tensor, feather: dict[str, Any]) -> Image.Image:
    """Add the change that the edit made; the photo's own detail stays wherever that change is small."""
    assert face.photo is not None
    crop = align(face.photo, face.landmarks, face.template, before.shape[-1]).crop
    changed = transfer_change(to_tensor(crop), before, after.detach().float().cpu())
    return paste_back(face, changed, match_color=False, **feather)
