"""What an edit starts from: latents of any kind, with the model that shows them and the photos they came from.

Legend: ``N`` subjects, ``L`` style layers, ``R`` resolution, ``r`` resolution of a noise map.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentedit.editing.refinement_mask import departure
from latentedit.errors import FingerprintError, LatentEditError, LatentError
from latentedit.inversion import Inversion
from latentedit.inversion.low_rank import adapt
from latentedit.latents import check_ws, slerp
from latentedit.models import Model, load_model

Delta = Mapping[str, tuple[Tensor, Tensor]]
"""Low-rank changes of the generator's weights that an inversion found: name -> factors [O,q] and [q,I]."""

_BATCH = 8


@dataclass(frozen=True)
class Subject:
    """Latents ``ws`` [N,L,w_dim] on the model's device.

    ``noise`` holds the noise maps [N,1,r,r] that replace the generator's own, ``deltas`` N weight changes (or nothing),
    ``anchors`` the latents [N,L,w_dim] that those were made for (None: ``ws``), ``origins`` for each row the inversion
    that it stems from, if any.
    """

    model: Model
    ws: Tensor
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    deltas: tuple[Delta, ...] = ()
    anchors: Tensor | None = None
    origins: tuple[Inversion | None, ...] = ()

    def __len__(self) -> int:
        return len(self.ws)

    def take(self, rows: Sequence[int]) -> Subject:
        """The rows of the given numbers, in that order; a row may be taken more than once."""
        index = torch.as_tensor(list(rows), device=self.ws.device)
        return replace(
            self,
            ws=self.ws[index],
            noise={name: value[index] for name, value in self.noise.items()},
            deltas=tuple(self.deltas[row] for row in rows) if self.deltas else (),
            anchors=None if self.anchors is None else self.anchors[index],
            origins=tuple(self.origins[row] for row in rows) if self.origins else (),
        )

    def with_ws(self, ws: Tensor) -> Subject:
        """The same moved to other latents of the same number; weight changes stay those of where they were made."""
        return replace(self, ws=ws, anchors=self.anchored() if any(self.deltas) else None)

    def anchored(self) -> Tensor:
        """The latents [N,L,w_dim] that the weight changes belong to."""
        return self.ws if self.anchors is None else self.anchors

    def stored_noise(self) -> dict[str, Tensor]:
        """All noise maps [N,1,r,r]: those kept, and the generator's own where none is."""
        return {
            name: self.noise[name] if name in self.noise else value.expand(len(self), -1, -1, -1)
            for name, value in generator_noise(self.model.generator).items()
        }

    @torch.no_grad()
    def render(self, advance: Callable[[int], object] | None = None) -> Tensor:
        """Images [N,3,R,R] in about [-1,1]; ``advance`` is called with the number of images after each batch.

        Weight changes show where the picture keeps the shapes that they were made for (`departure`).
        """
        images = []
        for rows in torch.arange(len(self)).split(1 if any(self.deltas) else _BATCH):
            part = self.take(rows.tolist())
            images.append(part._refined() if any(part.deltas) else part._plain(self.model.generator, part.ws))
            if advance is not None:
                advance(len(rows))
        size = self.model.resolution
        return torch.cat(images) if images else torch.zeros(0, 3, size, size, device=self.ws.device)

    def _plain(self, generator: Any, ws: Tensor) -> Tensor:
        kept = {"noise": self.noise} if self.noise else {}
        return generator.synthesis(ws, noise_mode="const", **kept).float()

    def _refined(self) -> Tensor:
        """The image of one row with a weight change."""
        own, anchor = self.model.generator, self.anchored()
        refined = self._plain(adapt(own, self.deltas[0]), self.ws)
        if torch.equal(anchor, self.ws):
            return refined
        plain = self._plain(own, self.ws)
        return refined.lerp(plain, departure(self._plain(own, anchor), plain))


def subject_of(source: Any, *, generator: Any = None, model: Any = None) -> Subject:
    """Gather ``source``: an `Inversion`, a `Subject`, something with a ``subject`` (an `Edit`), latents as tensor or
    array ([N,L,w_dim], [N,w_dim]), the path of an inversion (``.safetensors``) or of latents (``.npz``), or a list.

    ``model`` (a `Model`, or what `load_model` takes) or ``generator`` say what shows them; by default an inversion
    names its own model, and latents belong to the embedded one.

    Raises:
        FingerprintError: an inversion of another generator.
        LatentError: latents of another shape, not finite, or something that is none.
    """
    items = [_read(item) for item in (source if isinstance(source, (list, tuple)) else [source])]
    if not items:
        raise LatentError("There is nothing to work on.", "Give at least one inversion or latent.")
    shown_by = model_of(items, generator=generator, model=model)
    parts = [_gather(item, shown_by) for item in items]
    return parts[0] if len(parts) == 1 else _stack(parts, shown_by)


def generator_noise(generator: Any) -> dict[str, Tensor]:
    """The generator's own noise maps [1,1,r,r] in layer order; none for generators without noise."""
    shapes = getattr(generator.synthesis, "noise_shapes", {})
    return {name: generator.synthesis.get_buffer(f"{name}.noise_const").detach().float()[None, None] for name in shapes}


def blend_noise(a: Mapping[str, Tensor], b: Mapping[str, Tensor], share: Mapping[str, float]) -> dict[str, Tensor]:
    """Noise maps between ``a`` and ``b`` ([N,1,r,r] or [1,1,r,r] each), on great circles: straight lines would thin
    the noise out halfway, and the picture with it."""
    blended = {}
    for name, start in a.items():
        t = share.get(name, 0.0)
        end = b[name].expand_as(start) if len(b[name]) == 1 else b[name]
        blended[name] = start if t == 0 else end if t == 1 else slerp(start.flatten(1), end.flatten(1), t).view_as(end)
    return blended


def blend_deltas(a: Delta, b: Delta, share: float) -> dict[str, tuple[Tensor, Tensor]]:
    """The weight change ``(1 - share) * a + share * b``; ranks add up."""
    blended = {}
    for name in {**a, **b}:
        parts = [(part[name], scale) for part, scale in ((a, 1 - share), (b, share)) if name in part and scale]
        if parts:
            left = torch.cat([factors[0] * scale for factors, scale in parts], dim=1)
            blended[name] = (left, torch.cat([factors[1] for factors, _ in parts], dim=0))
    return blended


def _read(item: Any) -> Any:
    if isinstance(item, (str, os.PathLike)):
        return read_latents(item)
    subject = getattr(item, "subject", item)
    return subject if isinstance(subject, Subject) else item


def read_latents(source: str | os.PathLike[str]) -> Any:
    """An `Inversion` from ``.safetensors``, or latents [N,L,w_dim] from ``.npz``, ``.npy``, ``.pt``.

    Raises:
        LatentError: no such file, or another kind of file.
    """
    path = Path(source)
    if path.suffix.lower() == ".safetensors":
        return Inversion.load(path)
    if path.suffix.lower() in (".npz", ".npy", ".pt"):
        from latentedit.inversion.storage import load_latents

        return torch.cat(list(load_latents(path).values()))
    raise LatentError(f"{str(path)!r} is no file of latents.", "A photo has to be inverted first: invert(photo).")


def model_of(items: Sequence[Any] = (), *, generator: Any = None, model: Any = None) -> Model:
    """The model that shows ``items``: the one given, else the first that an item names, else the embedded one."""
    if generator is not None and model is not None:
        raise LatentEditError("Both a generator and a model were given.", "Give one: a model holds its generator.")
    if generator is not None or isinstance(model, nn.Module):
        return _around(model if generator is None else generator)
    if isinstance(model, Model):
        return model
    if model is not None:
        return load_model(model)
    for item in items:
        if isinstance(item, Subject):
            return item.model
    for item in items:
        if isinstance(item, Inversion):
            return _named(item.model, item.ws.device)
    return load_model()


def _around(generator: Any) -> Model:
    """A model around a bare generator: with the embedded one's directions where it is the embedded generator, and its
    perception network in any case, since that looks at faces of every generator."""
    model = Model(name=type(generator).__name__.lower(), generator=generator)
    try:
        embedded = load_model(device=model.device)
    except LatentEditError:
        return model
    if embedded.fingerprint == model.fingerprint:
        return replace(embedded, generator=generator)
    return replace(model, perception=embedded.perception)


def _named(name: str | None, device: torch.device) -> Model:
    try:
        return load_model(name or None, device=device)
    except LatentEditError as error:
        raise LatentError(
            f"The inversion belongs to the model {name!r}, which cannot be loaded here: {error.problem}",
            "Name the model with model= (--model).",
        ) from error


def _gather(item: Any, model: Model) -> Subject:
    if isinstance(item, Subject):
        _same_generator(item.model.fingerprint, model, "The latents belong")
        return item
    if isinstance(item, Inversion):
        _same_generator(item.fingerprint, model, "The inversion belongs")
        ws = check_ws(item.ws, model.generator.num_ws, model.generator.w_dim).to(model.device)
        noise = {name: value.to(model.device).float() for name, value in item.noise.items()}
        return Subject(model, ws, noise, (item.delta,) if item.delta else (), origins=(item,))
    if isinstance(item, (Tensor, np.ndarray)):
        ws = check_ws(item, model.generator.num_ws, model.generator.w_dim).to(model.device)
        return Subject(model, ws)
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
    names = [name for name in generator_noise(model.generator) if any(name in part.noise for part in parts)]
    maps = [part.stored_noise() for part in parts] if names else []
    deltas = [part.deltas or ({},) * len(part) for part in parts]
    origins = [part.origins or (None,) * len(part) for part in parts]
    return Subject(
        model,
        torch.cat([part.ws for part in parts]),
        {name: torch.cat([noise[name] for noise in maps]) for name in names},
        tuple(delta for group in deltas for delta in group) if any(any(group) for group in deltas) else (),
        torch.cat([part.anchored() for part in parts]) if any(part.anchors is not None for part in parts) else None,
        tuple(origin for group in origins for origin in group),
    )
