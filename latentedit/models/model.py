"""`Model`: a generator, and beside it what the commands need to edit photos with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import torch

from latentedit.errors import ModelError
from latentedit.faces import FFHQ, CropTemplate
from latentedit.models.locations import sharing_directions, user_directions
from latentedit.models.parts import Part

if TYPE_CHECKING:
    from latentedit.networks.protocols import FacePerception, StyleEncoder, StyleGenerator

_REMEDY = {
    "encoder": "Use `--method optimize`, or give the model one with `latentedit model add`.",
    "perception": "Give the model one with `latentedit model add`, or use the embedded model.",
    "directions": "Fit one with `latentedit-direction fit`, or import one with `latentedit-direction import`.",
    "card": "Write a MODEL_CARD.md into the model's folder.",
}


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A generator with its companions, as `load_model` returns it.

    ``template`` is the crop that the generator was trained on, ``directions`` the folder of the directions that came
    with the model, ``user_directions`` the one where the user's own fits go (it may not exist yet). ``fingerprint`` is
    the generator's; ``mapping_fingerprint`` that of its W, which generators may share, and with it directions and
    latents. ``notes`` say what had to be assumed or left out when it was read. Networks are float32, in evaluation
    mode, without gradients; encoder and perception may be built only when they are asked for. Models may be shared:
    change a copy of a network, not the network.
    """

    name: str
    generator: StyleGenerator
    encoder: Part[StyleEncoder] = Part()  # noqa: RUF009
    perception: Part[FacePerception] = Part()  # noqa: RUF009
    template: CropTemplate = FFHQ
    directions: Path | None = None
    card: str | None = None
    licence: str | None = None
    path: Path | None = None
    fingerprint: str = ""
    mapping_fingerprint: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from latentedit.networks.generator import fingerprint
        from latentedit.networks.mapping import mapping_fingerprint
        from latentedit.networks.protocols import StyleGenerator

        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint(self.generator))
        if not self.mapping_fingerprint and isinstance(self.generator, StyleGenerator):
            object.__setattr__(self, "mapping_fingerprint", mapping_fingerprint(self.generator.mapping))

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {type(self.generator).__name__}, {self.resolution} px, {self.fingerprint})"

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str] | None = None, *, device: str | torch.device = "cpu"
    ) -> Model:
        """What `load_model` loads: a name, a model folder, or a checkpoint of any kind; None is the default model."""
        from latentedit import models

        return models.load_model(source, device=device)

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> Model:
        """Write the model as a folder, as `save_model` does, and return what loads from it."""
        from latentedit import models

        return models.save_model(folder, self, dtype=dtype)

    @property
    def resolution(self) -> int:
        """Pixels along a side of the generator's images."""
        return self.generator.resolution

    @property
    def device(self) -> torch.device:
        """Where the generator's weights are."""
        return next(self.generator.parameters()).device

    @property
    def user_directions(self) -> Path:
        """Folder for the user's own directions of this generator; named by its fingerprint."""
        return user_directions(self.fingerprint)

    @property
    def direction_folders(self) -> tuple[Path, ...]:
        """Existing folders with directions of this model, the user's own first: their names win.

        Last come the user's own directions for other generators that share this one's W.
        """
        folders = (self.user_directions, self.directions, *sharing_directions(self.mapping_fingerprint))
        return tuple(dict.fromkeys(folder for folder in folders if folder is not None and folder.is_dir()))

    def has(self, part: Literal["encoder", "perception"]) -> bool:
        """Whether the model has ``part``, told without building it."""
        return self.__dict__[f"_{part}"] is not None

    @overload
    def require(self, part: Literal["encoder"]) -> StyleEncoder: ...
    @overload
    def require(self, part: Literal["perception"]) -> FacePerception: ...
    @overload
    def require(self, part: Literal["directions"]) -> Path: ...
    @overload
    def require(self, part: Literal["card"]) -> str: ...
    def require(self, part: str) -> object:
        """The ``part`` ("encoder", "perception", "directions", "card"), or an error that tells how to get one.

        Raises:
            ModelError: the model has no such part; where the file had one that is not supported, the error says so.
        """
        value = getattr(self, part)
        if value is None:
            why = "".join(f" ({note})" for note in self.notes if part in note)
            raise ModelError(f"The model {self.name!r} has no {part}{why}.", _REMEDY.get(part))
        return value

    def to(self, device: str | torch.device) -> Model:
        """This model with its networks on ``device``; networks move in place, as PyTorch's modules do."""
        for network in (self.generator, self.encoder, self.perception):
            if network is not None:
                network.to(device)
        return self
