"""`interpolate`: a film from face to face.

Legend: ``F`` frames, ``K`` key faces, ``L`` style layers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.codes import Code
from latentedit.codes.code import Advance
from latentedit.editing.subject import Face, Faces, Subject, model_of, subject_of
from latentedit.editing.timeline import Curve, Easing, along, positions
from latentedit.errors import LatentError
from latentedit.images import to_pil
from latentedit.latents import seed_z
from latentedit.media import save_animation
from latentedit.models import Model, ModelLike
from latentedit.networks import StyleGenerator

Keys: TypeAlias = "Faces | Sequence[Face | int]"
"""Key faces: what can be edited, or seeds among them."""


def interpolate(
    items: Keys,
    *,
    frames: int = 60,
    loop: bool = True,
    space: Literal["w", "z"] = "w",
    curve: Curve | None = None,
    easing: str | Easing | None = None,
    truncation_psi: float = 0.7,
    label: int | None = None,
    generator: StyleGenerator | None = None,
    model: ModelLike | None = None,
) -> Interpolation:
    """Film the way through ``items``; nothing is rendered before the frames are asked for.

    Args:
        items: key faces: what `edit` takes, or seeds (whole numbers); in Z, seeds or ``z`` [K,z_dim].
        frames: of the whole film.
        loop: go back to the first face, and end one frame before it: the film repeats without a jump or a pause.
        space: "w" interpolates latents (W+, each layer by itself), "z" what goes into the mapping network.
        curve: "linear" (default in W+), "slerp" (default in Z), or "cubic": smooth through the key faces.
        easing: "linear", "smooth", "smoother", "cosine", "in", "out", or a function [F] -> [F], for each stretch
            between two key faces. None is "smooth" on straight stretches and "linear" on cubic ones, which need no
            slowing down.
        truncation_psi: of faces made from seeds or ``z``.
        label: their class, where the generator is conditional.
        generator, model: as for `edit`.

    Raises:
        LatentError: fewer than two key faces, no frames, an unknown curve, easing or space.
        FingerprintError: faces of another generator.
    """
    if space not in ("w", "z"):
        raise LatentError(f"space={space!r} is unknown.", "Choose 'w' or 'z'.")
    curve = curve or ("slerp" if space == "z" else "linear")
    easing = easing or ("linear" if curve == "cubic" else "smooth")
    if space == "z":
        owner = model_of(generator=generator, model=model)
        keys_z = _read_z(items, owner)
        at = _positions(len(keys_z), frames, loop, easing)
        ws = map_latents(owner, along(keys_z, at, curve=curve, loop=loop), truncation_psi, label=label)
        return Interpolation(Subject(owner, Code(ws)), np.arange(float(len(at))), "linear", False, loop)
    keys = _read_keys(items, generator, model, truncation_psi, label)
    return Interpolation(keys, _positions(len(keys), frames, loop, easing), curve, loop, loop)


@dataclass(frozen=True, eq=False)
class Interpolation:
    """A film as key faces and positions between them; frames are rendered when they are asked for, once.

    ``closed`` says whether the path leads from the last key face back to the first, ``loop`` whether the film repeats.
    """

    keys: Subject
    at: np.ndarray
    curve: Curve
    closed: bool
    loop: bool

    def __len__(self) -> int:
        return len(self.at)

    @cached_property
    def ws(self) -> Tensor:
        """Latents of all frames [F,L,w_dim]."""
        return along(self.keys.ws, self.at, curve=self.curve, loop=self.closed)

    @cached_property
    def frames(self) -> list[Image.Image]:
        """All frames as RGB images of the generator's resolution."""
        return self.render()

    def subject(self, first: int, last: int) -> Subject:
        """The frames from ``first`` up to ``last`` (exclusive) as latents with their noise and weight changes."""
        keys, generator = self.keys.code, self.keys.model.generator
        ws = along(self.keys.ws, self.at[first:last], curve=self.curve, loop=self.closed)
        if not keys.noise and not keys.deltas:
            return Subject(self.keys.model, Code(ws))
        before = np.floor(self.at[first:last] + 1e-9).astype(int)
        shares = np.clip(self.at[first:last] - before, 0, 1)
        frames = [
            keys.take([int(b) % len(keys)]).blend(keys.take([int(b + 1) % len(keys)]), float(share), generator)
            for b, share in zip(before, shares, strict=True)
        ]
        at = self.at[first:last]
        anchor = along(keys.anchored, at, curve=self.curve, loop=self.closed) if keys.deltas else None
        return Subject(self.keys.model, replace(Code.cat(frames, generator), ws=ws, anchor=anchor))

    def render(self, advance: Advance | None = None, *, batch: int = 16) -> list[Image.Image]:
        """Render all frames; ``advance`` is called with the number of frames after each batch."""
        return list(self.stream(advance, batch=batch))

    def stream(self, advance: Advance | None = None, *, batch: int = 16) -> Iterator[Image.Image]:
        """The frames one after the other, rendered in batches; none is kept."""
        for first in range(0, len(self), batch):
            yield from to_pil(self.subject(first, min(first + batch, len(self))).render(advance))

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float = 30.0,
        size: int | None = None,
        advance: Advance | None = None,
    ) -> Path:
        """Write the film: ``.gif``, ``.webp``, ``.mp4``, ``.png`` (numbered frames), or a folder.

        ``size`` is the width in pixels to scale to. ``advance`` is called with the number of frames after each batch.
        Frames are rendered as they are written, so that a film may be of any length.

        Raises:
            OutputError: another suffix, or a place that cannot be written to.
        """
        frames = self.__dict__.get("frames") or self.stream(advance)
        return save_animation(frames, path, fps, loop=self.loop, size=size)


def from_seeds(
    model: Model,
    seeds: Sequence[int],
    truncation_psi: float = 0.7,
    *,
    cutoff: int | None = None,
    label: int | None = None,
) -> Tensor:
    """Latents [N,L,w_dim] of faces made from seeds, on the model's device."""
    return map_latents(model, seed_z(list(seeds), model.generator.z_dim), truncation_psi, cutoff=cutoff, label=label)


def map_latents(
    model: Model, z: Tensor, truncation_psi: float, *, cutoff: int | None = None, label: int | None = None
) -> Tensor:
    """Latents [N,L,w_dim] of ``z`` [N,z_dim], of the class ``label`` where the generator is conditional.

    Raises:
        LatentError: a class that the generator has not, or none where it needs one.
    """
    generator, c = model.generator, None
    if generator.c_dim and label is None:
        raise LatentError(
            f"The generator of {model.name!r} is conditional.",
            f"Choose label=0 to {generator.c_dim - 1}.",
            typed=f"Choose --class 0 to {generator.c_dim - 1}.",
        )
    if label is not None:
        if not 0 <= label < generator.c_dim:
            classes = f"classes 0 to {generator.c_dim - 1}" if generator.c_dim else "no classes"
            raise LatentError(f"There is no class {label}: the generator of {model.name!r} has {classes}.")
        c = torch.zeros(len(z), generator.c_dim, device=model.device)
        c[:, label] = 1
    with torch.no_grad():
        return generator.mapping(z.to(model.device), c, truncation_psi=truncation_psi, truncation_cutoff=cutoff)


def _positions(keys: int, frames: int, loop: bool, easing: str | Easing) -> np.ndarray:
    if keys < 2:
        raise LatentError("A film needs at least two faces.", "Give more latents or seeds.")
    return positions(keys, frames, loop=loop, easing=easing)


def _read_z(items: Keys, model: Model) -> Tensor:
    if isinstance(items, (Tensor, np.ndarray)):
        z = torch.as_tensor(items).float()
    elif not isinstance(items, (list, tuple)):
        raise LatentError(f"A {type(items).__name__} is no z.", "Give z [K, z_dim], or seeds; faces have no z.")
    else:
        z = torch.cat([_z_of(item, model) for item in items])
    if z.ndim != 2 or z.shape[1] != model.generator.z_dim or not bool(torch.isfinite(z).all()):
        raise LatentError(f"z has shape {tuple(z.shape)}.", f"Give finite z [K, {model.generator.z_dim}], or seeds.")
    return z


def _z_of(item: Face | int, model: Model) -> Tensor:
    if isinstance(item, (int, np.integer)):
        return seed_z([int(item)], model.generator.z_dim)
    if isinstance(item, (Tensor, np.ndarray)):
        return torch.as_tensor(item).float().reshape(1, -1)
    raise LatentError(f"A {type(item).__name__} is no z.", "Give z [K, z_dim], or seeds; faces have no z.")


def _read_keys(
    items: Keys, generator: StyleGenerator | None, model: ModelLike | None, psi: float, label: int | None
) -> Subject:
    if not isinstance(items, (list, tuple)):
        return subject_of(cast("Face", items), generator=generator, model=model)
    faces = [item for item in items if not isinstance(item, (int, np.integer))]
    owner = subject_of(faces, generator=generator, model=model).model if faces else None
    owner = owner or model_of(generator=generator, model=model)
    made = [
        from_seeds(owner, [int(item)], psi, label=label) if isinstance(item, (int, np.integer)) else item
        for item in items
    ]
    return subject_of(made, model=owner)
