"""`Edit`: edited latents that render, measure themselves, and go back into their photos when they are asked to.

Legend: ``N`` subjects, ``R`` resolution.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from latentedit.editing.metrics import measure_edit
from latentedit.editing.paste import Detail, faces_of, paste
from latentedit.editing.subject import Subject
from latentedit.editing.targets import Asked
from latentedit.errors import LatentError, ModelError
from latentedit.images import ImageSource, save_image, to_pil
from latentedit.latents import save_ws


@dataclass(frozen=True, eq=False)
class Edit:
    """Edited latents; nothing is rendered or measured before it is asked for.

    ``before`` and ``subject`` are what was edited and what came of it; ``asked`` says per attribute what was wanted and
    how far the latents moved.
    """

    before: Subject
    subject: Subject
    asked: Mapping[str, Asked] = field(default_factory=dict)

    @property
    def ws(self) -> Tensor:
        """Edited latents [N,L,w_dim]."""
        return self.subject.ws

    def __len__(self) -> int:
        return len(self.subject)

    @cached_property
    def pixels(self) -> Tensor:
        """Edited faces [N,3,R,R] in [-1,1]."""
        return self.subject.render().clamp(-1, 1)

    @cached_property
    def pixels_before(self) -> Tensor:
        """The same faces before, [N,3,R,R] in [-1,1]."""
        return self.before.render().clamp(-1, 1)

    @cached_property
    def images(self) -> list[Image.Image]:
        """Edited faces, one RGB image for each latent."""
        return to_pil(self.pixels)

    @property
    def image(self) -> Image.Image:
        """The edited face.

        Raises:
            LatentError: a batch; see `images`.
        """
        self._single("image", "images")
        return self.images[0]

    @cached_property
    def all_metrics(self) -> list[dict[str, Any]]:
        """Per latent: what the edit did, measured by the model's perception network.

        ``identity`` is the cosine of the embeddings before and after, 1 for the same face, and ``identity_distance``
        the distance on which 0.6 separates same from different persons. ``asked`` holds ``before``, ``after``,
        ``change``, ``amount``, ``target`` and the ``distance`` moved of every attribute that was asked for, ``others``
        the change of every one that was not. With an inversion, ``identity_to_photo`` compares with the photo's crop.

        Raises:
            ModelError: the model has no perception network.
        """
        if self.subject.model.perception is None:
            raise ModelError(
                f"The model {self.subject.model.name!r} has no perception network to measure an edit with.",
                "Give it one with `latentedit model add`.",
            )
        return measure_edit(self.before, self.subject, self.asked, (self.pixels_before, self.pixels))

    @property
    def metrics(self) -> dict[str, Any]:
        """`all_metrics` of a single latent.

        Raises:
            LatentError: a batch.
        """
        self._single("metrics", "all_metrics")
        return self.all_metrics[0]

    def paste_back(
        self, *, photo: ImageSource | None = None, detail: Detail = "transfer", feather: float | None = None
    ) -> Image.Image:
        """The photo, at its own resolution, with the edited face in it; several faces must be of one photo.

        Args:
            photo: replaces a photo whose file is gone; any image source.
            detail: ``"transfer"`` adds the change that the edit made to the photo, so that the photo keeps its detail
                where the edit is small; ``"render"`` pastes the generator's picture, as soft as its resolution.
            feather: width of the blend towards the photo, as a share of the crop.

        Raises:
            FaceError: latents that come from no photo. ImageError: the photo is gone.
        """
        faces = faces_of(self.before.origins, len(self), photo)
        return paste(faces, self.pixels, detail=detail, feather=feather)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the edited face as a picture, or the latents as ``.npz`` (key ``w``, as stylegan2-ada does).

        Raises:
            LatentError: a batch, as a picture.
            OutputError: a suffix that is no kind of picture, or an unwritable place.
        """
        target = Path(path)
        if target.suffix.lower() == ".npz":
            save_ws(target, self.ws)
            return target
        save_image(self.image, target)
        return target

    def _single(self, name: str, several: str) -> None:
        if len(self) != 1:
            raise LatentError(f"This edit holds {len(self)} faces, so .{name} is not one.", f"Use .{several}.")
