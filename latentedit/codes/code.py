"""`Code`: the one home of a latent, with the noise and the weight change that belong to it.

Legend: ``N`` rows, ``L`` style layers, ``D`` width of w, ``R`` resolution, ``r`` resolution of a noise map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from latentedit.codes.delta import WeightDelta, adapted, blend_deltas, moved_deltas
from latentedit.codes.refinement_mask import departure
from latentedit.errors import LatentError
from latentedit.latents import slerp
from latentedit.networks import StyleGenerator

Advance = Callable[[int], object]

_BATCH = 8


@dataclass(frozen=True, eq=False)
class Code:
    """What a generator needs to draw N faces: nothing of photos, of attributes, or of models.

    ``ws`` [N,L,D]; ``noise`` maps [N,1,r,r] by name, which replace the generator's own (any that is missing stays);
    ``deltas`` N low-rank changes of its weights, or none at all; ``anchor`` [N,L,D] the latents that those were made
    for, None where that is ``ws`` itself. What else may once belong to a face (feature maps, say) has its place here.
    """

    ws: Tensor
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    deltas: tuple[WeightDelta, ...] = ()
    anchor: Tensor | None = None

    def __post_init__(self) -> None:
        rows = len(self.ws)
        counts = {len(value) for value in self.noise.values()} | ({len(self.deltas)} - {0})
        counts |= set() if self.anchor is None else {len(self.anchor)}
        if self.ws.ndim != 3 or counts - {rows}:
            sizes = ", ".join(map(str, sorted(counts)))
            raise LatentError(
                f"A code has ws of shape {list(self.ws.shape)} and parts of {sizes or 'no'} rows.",
                "Give ws [N,L,D] and as many rows of everything else.",
            )

    def __len__(self) -> int:
        return len(self.ws)

    @property
    def anchored(self) -> Tensor:
        """The latents [N,L,D] that the weight changes belong to."""
        return self.ws if self.anchor is None else self.anchor

    @property
    def refined(self) -> bool:
        """Whether any row has a weight change."""
        return any(self.deltas)

    def take(self, rows: Sequence[int]) -> Code:
        """The rows of the given numbers, in that order; a row may be taken more than once."""
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.ws.device)
        return Code(
            ws=self.ws[index],
            noise={name: value[index] for name, value in self.noise.items()},
            deltas=tuple(self.deltas[row] for row in rows) if self.deltas else (),
            anchor=None if self.anchor is None else self.anchor[index],
        )

    def to(self, device: torch.device | str) -> Code:
        """The same on ``device``."""
        place = torch.device(device)
        return Code(
            ws=self.ws.to(place),
            noise={name: value.to(place) for name, value in self.noise.items()},
            deltas=moved_deltas(self.deltas, place),
            anchor=None if self.anchor is None else self.anchor.to(place),
        )

    def moved(self, ws: Tensor) -> Code:
        """The same at other latents ``ws`` [N,L,D]; weight changes stay those of where they were made."""
        return replace(self, ws=ws, anchor=self.anchored if self.refined else None)

    def every_noise(self, generator: StyleGenerator) -> dict[str, Tensor]:
        """All noise maps [N,1,r,r] in layer order: those kept, and the generator's own where none is."""
        own, maps = generator.synthesis, dict(self.noise)
        for name in own.noise_shapes:
            if name not in maps:
                stored = own.stored_noise(name).detach().float().to(self.ws.device)
                maps[name] = stored.expand(len(self), 1, -1, -1)
        return {name: maps[name] for name in own.noise_shapes}

    @staticmethod
    def cat(codes: Sequence[Code], generator: StyleGenerator) -> Code:
        """The rows of several codes of one ``generator`` as one code.

        Raises:
            LatentError: no codes.
        """
        if not codes:
            raise LatentError("There are no codes to join.", "Give at least one.")
        names = [name for name in generator.synthesis.noise_shapes if any(name in code.noise for code in codes)]
        maps = [code.every_noise(generator) for code in codes] if names else []
        deltas = [code.deltas or ({},) * len(code) for code in codes]
        moved = any(code.anchor is not None for code in codes)
        return Code(
            ws=torch.cat([code.ws for code in codes]),
            noise={name: torch.cat([noise[name] for noise in maps]) for name in names},
            deltas=tuple(delta for group in deltas for delta in group) if any(any(group) for group in deltas) else (),
            anchor=torch.cat([code.anchored for code in codes]) if moved else None,
        )

    def blend(self, other: Code, shares: float | Sequence[float], generator: StyleGenerator) -> Code:
        """What lies between this code (shares of 0) and ``other`` (1) of as many rows; beyond 1 exaggerates latents.

        ``shares`` is one number, or one per style layer. Noise maps follow the layer that they belong to on great
        circles, since straight lines would thin the noise out halfway, and the picture with it; weight changes go by
        the mean share of the layers with noise (of all where there is none).
        """
        own = generator.synthesis.noise_shapes
        layers = [float(shares)] * self.ws.shape[1] if isinstance(shares, (int, float)) else list(shares)
        within = [min(max(share, 0.0), 1.0) for share in layers]
        rates = torch.tensor(layers, dtype=self.ws.dtype, device=self.ws.device)[:, None]
        noise = dict(self.noise)
        if self.noise or other.noise:
            maps = dict(zip(own, within, strict=False))
            noise = blend_noise(self.every_noise(generator), other.every_noise(generator), maps)
        deltas, anchor = self.deltas, None
        if self.deltas or other.deltas:
            drawn = within[: len(own)] or within
            share = within[0] if len(set(within)) == 1 else sum(drawn) / len(drawn)
            pairs = zip(self.deltas or ({},) * len(self), other.deltas or ({},) * len(other), strict=True)
            deltas = tuple(blend_deltas(one, two, share) for one, two in pairs)
            anchor = self.anchored + (other.anchored - self.anchored) * rates
        return Code(self.ws + (other.ws - self.ws) * rates, noise, deltas, anchor)

    @torch.no_grad()
    def render(self, generator: StyleGenerator, *, batch: int = _BATCH, advance: Advance | None = None) -> Tensor:
        """Images [N,3,R,R] in about [-1,1], ``batch`` rows at a time, on the generator's device.

        A row with a weight change is drawn alone, by a private variant of the generator, which is itself never written
        to; where the latent has moved off its anchor, the change shows where the picture keeps the shapes that it was
        made for (`departure`). ``advance`` is called with the number of images after each batch.
        """
        here = self.to(next(generator.parameters()).device)
        images = []
        step = 1 if self.refined else batch
        for first in range(0, len(self), step):
            part = here.take(range(first, min(first + step, len(self))))
            images.append(part._refined(generator) if part.refined else part._plain(generator, part.ws))
            if advance is not None:
                advance(len(part))
        size = generator.resolution
        return torch.cat(images) if images else torch.zeros(0, 3, size, size, device=here.ws.device)

    def _plain(self, generator: StyleGenerator, ws: Tensor) -> Tensor:
        return generator.synthesis(ws, noise_mode="const", noise=self.noise or None).float()

    def _refined(self, generator: StyleGenerator) -> Tensor:
        """The image of one row with a weight change."""
        refined = self._plain(adapted(generator, self.deltas[0]), self.ws)
        if self.anchor is None or torch.equal(self.anchor, self.ws):
            return refined
        plain = self._plain(generator, self.ws)
        return refined.lerp(plain, departure(self._plain(generator, self.anchor), plain))


def blend_noise(a: Mapping[str, Tensor], b: Mapping[str, Tensor], share: Mapping[str, float]) -> dict[str, Tensor]:
    """Noise maps between ``a`` and ``b`` ([N,1,r,r] or [1,1,r,r] each) by name, on great circles."""
    blended = {}
    for name, start in a.items():
        t = share.get(name, 0.0)
        end = b[name].expand_as(start) if len(b[name]) == 1 else b[name]
        blended[name] = start if t == 0 else end if t == 1 else slerp(start.flatten(1), end.flatten(1), t).view_as(end)
    return blended
