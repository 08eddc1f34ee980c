"""What an edit starts from: latents of any kind, with the model that shows them and the photos they came from.

Legend: ``N`` subjects, ``L`` style layers, ``R`` resolution, ``r`` resolution of a noise map.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from latentedit.codes import Code
from latentedit.codes.code import Advance
from latentedit.errors import DirectionError, FingerprintError, LatentEditError, LatentError
from latentedit.inversion import Inversion, load_latents
from latentedit.latents import check_ws
from latentedit.models import Model, ModelLike, as_model, load_model
from latentedit.networks import Perception, StyleGenerator


@dataclass(frozen=True)
class Subject:
    """A `Code` of N rows on the model's device, with the model that shows it, and for each row the inversion that it
    stems from, if any (``origins``, or nothing at all)."""

    model: Model
    code: Code
    origins: tuple[Inversion | None, ...] = ()

    def __len__(self) -> int:
        return len(self.code)

    @property
    def ws(self) -> Tensor:
        """Latents [N,L,w_dim]."""
        return self.code.ws

    @property
    def noise(self) -> Mapping[str, Tensor]:
        """Noise maps [N,1,r,r] that replace the generator's own, by name."""
        return self.code.noise

    def take(self, rows: Sequence[int]) -> Subject:
        """The rows of the given numbers, in that order; a row may be taken more than once."""
        origins = tuple(self.origins[row] for row in rows) if self.origins else ()
        return replace(self, code=self.code.take(rows), origins=origins)

    def with_ws(self, ws: Tensor) -> Subject:
        """The same moved to other latents of the same number; weight changes stay those of where they were made."""
        return replace(self, code=self.code.moved(ws))

    def render(self, advance: Advance | None = None) -> Tensor:
        """Images [N,3,R,R] in about [-1,1]; ``advance`` is called with the number of images after each batch."""
        return self.code.render(self.model.generator, advance=advance)

    def perceive(self, pixels: Tensor | None = None) -> Perception:
        """What the model's perception network sees in the faces, or in ``pixels`` [N,3,R,R] that show them.

        Raises:
            ModelError: the model has no perception network.
        """
        network = self.model.require("perception")
        with torch.no_grad():
            return network.perceive(self.render().clamp(-1, 1) if pixels is None else pixels)


@runtime_checkable
class HasSubject(Protocol):
    """Something that came of an edit, and can be edited further."""

    @property
    def subject(self) -> Subject: ...


Face: TypeAlias = "Inversion | Subject | HasSubject | Tensor | np.ndarray | str | os.PathLike[str]"
Faces: TypeAlias = "Face | Sequence[Face]"
"""What can be edited, one or several: see `subject_of`."""


def score_or_none(seen: Perception, name: str) -> Tensor | None:
    """The measured score [N] of an attribute; None for one that the perception network does not know."""
    try:
        return seen[name]
    except DirectionError:
        return None


def subject_of(source: Faces, *, generator: StyleGenerator | None = None, model: ModelLike | None = None) -> Subject:
    """Gather ``source``: an `Inversion`, a `Subject`, something with a ``subject`` (an `Edit`), latents as tensor or
    array ([N,L,w_dim], [N,w_dim]), the path of an inversion (``.safetensors``) or of latents (``.npz``), or a list.

    ``model`` (a `Model`, or what `load_model` takes) or ``generator`` say what shows them; by default an inversion
    names its own model, and latents belong to the default one.

    Raises:
        FingerprintError: an inversion of another generator.
        LatentError: latents of another shape, not finite, or something that is none.
    """
    given = source if isinstance(source, (list, tuple)) else [cast("Face", source)]
    items = [_read(item) for item in given]
    if not items:
        raise LatentError("There is nothing to work on.", "Give at least one inversion or latent.")
    shown_by = model_of(items, generator=generator, model=model)
    parts = [_gather(item, shown_by) for item in items]
    return parts[0] if len(parts) == 1 else _stack(parts, shown_by)


def _read(item: Face) -> Inversion | Subject | Tensor | np.ndarray:
    if isinstance(item, (str, os.PathLike)):
        return read_latents(item)
    return item.subject if isinstance(item, HasSubject) else item


def read_latents(source: str | os.PathLike[str]) -> Inversion | Tensor:
    """An `Inversion` from ``.safetensors``, or latents [N,L,w_dim] from ``.npz``, ``.npy``, ``.pt``.

    Raises:
        LatentError: no such file, or another kind of file.
    """
    path = Path(source)
    if path.suffix.lower() == ".safetensors":
        return Inversion.load(path)
    if path.suffix.lower() in (".npz", ".npy", ".pt"):
        return torch.cat(list(load_latents(path).values()))
    raise LatentError(f"{str(path)!r} is no file of latents.", "A photo has to be inverted first: invert(photo).")


def model_of(
    items: Sequence[Inversion | Subject | Tensor | np.ndarray] = (),
    *,
    generator: StyleGenerator | None = None,
    model: ModelLike | None = None,
) -> Model:
    """The model that shows ``items``: the one given, else the first that an item names, else the default one."""
    if generator is not None and model is not None:
        raise LatentEditError("Both a generator and a model were given.", "Give one: a model holds its generator.")
    if generator is not None or model is not None:
        return as_model(model if generator is None else generator)
    for item in items:
        if isinstance(item, Subject):
            return item.model
    for item in items:
        if isinstance(item, Inversion):
            return _named(item.model, item.ws.device)
    return load_model()


def _named(name: str | None, device: torch.device) -> Model:
    try:
        return load_model(name or None, device=device)
    except LatentEditError as error:
        raise LatentError(
            f"The inversion belongs to the model {name!r}, which cannot be loaded here: {error.problem}",
            "Name the model with model= (--model).",
        ) from error


def _gather(item: Inversion | Subject | Tensor | np.ndarray, model: Model) -> Subject:
    if isinstance(item, Subject):
        _same_generator(item.model.fingerprint, model, "The latents belong")
        return item
    if isinstance(item, Inversion):
        _same_generator(item.fingerprint, model, "The inversion belongs")
        ws = check_ws(item.ws, model.generator.num_ws, model.generator.w_dim).to(model.device)
        return Subject(model, replace(item.code.to(model.device), ws=ws), origins=(item,))
    if isinstance(item, (Tensor, np.ndarray)):
        ws = check_ws(item, model.generator.num_ws, model.generator.w_dim).to(model.device)
        return Subject(model, Code(ws))
    raise LatentError(
        f"A {type(item).__name__} cannot be edited.", "Give an Inversion, latents [N, L, w_dim], or a list of them."
    )


def _same_generator(fingerprint: str | None, model: Model, what: str) -> None:
    if fingerprint and fingerprint != model.fingerprint:
        raise FingerprintError(
            f"{what} to the generator {fingerprint}, not to {model.fingerprint} ({model.name!r}).",
            "Name its model with model= (--model), or invert the photo with this one.",
        )


def _stack(parts: Sequence[Subject], model: Model) -> Subject:
    origins = [part.origins or (None,) * len(part) for part in parts]
    code = Code.cat([part.code for part in parts], model.generator)
    return Subject(model, code, tuple(origin for group in origins for origin in group))
