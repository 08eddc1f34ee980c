"""What `describe` and `verify` share: the faces of a photo as the perception network wants to see them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentedit.faces import AlignedFace
    from latentedit.networks import FacePerception, Perception

_SIZE = 128


def load_perception(model: str | None, device: str) -> FacePerception:
    """The perception network of ``model``.

    Raises:
        ModelError: the model cannot be read or has none.
    """
    from latentedit.models import load_model

    return load_model(model, device=device).require("perception")


def find_faces(
    network: FacePerception, photo: Path, face: int | str, max_pixels: int | None = None
) -> list[AlignedFace]:
    """The faces of ``photo`` ("all", or one by number), cut so that ``network`` sees all that it reads."""
    from latentedit.faces import CropTemplate, align_photo
    from latentedit.images import MAX_PIXELS, load_image

    template = CropTemplate(*network.template)
    picture = load_image(photo, max_pixels=max_pixels or MAX_PIXELS)
    found = align_photo(picture, template, _SIZE, face=face, name=str(photo))  # pyright: ignore[reportArgumentType]
    return found if isinstance(found, list) else [found]


def perceive(network: FacePerception, faces: Sequence[AlignedFace]) -> Perception:
    """What ``network`` sees in ``faces``, without gradients; its crop is the template's whatever the model's is."""
    import torch

    from latentedit.images import to_tensor

    own = network.for_template(*network.template)
    with torch.no_grad():
        return own.perceive(to_tensor([face.crop for face in faces]).to(next(network.parameters()).device))
