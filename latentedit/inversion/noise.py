"""The noise maps of a synthesis network as one flat variable per image, kept white while they are optimised.

Legend: ``N`` images, ``P`` pixels of all maps together, ``r`` resolution of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import torch
from torch import Tensor, nn

from latentedit.networks import StyleSynthesis

_SMALLEST = 8


class NoiseMaps:
    """Packs maps named as in ``synthesis.noise_shapes`` into [N,P] and back, without copies.

    Maps of equal shape lie side by side, so that the regulariser treats them in one go.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        self.shapes = dict(sorted(shapes.items(), key=lambda item: item[1]))
        self.size = sum(height * width for height, width in self.shapes.values())

    @classmethod
    def of(cls, synthesis: StyleSynthesis) -> NoiseMaps:
        """The maps of ``synthesis`` that make a difference: those whose learnt strength is not 0."""
        return cls(
            {
                name: shape
                for name, shape in synthesis.noise_shapes.items()
                if bool(synthesis.noise_gain(name).detach().any())
            }
        )

    def stored(self, synthesis: StyleSynthesis) -> Tensor:
        """The maps of ``synthesis`` as [1,P]."""
        maps = [synthesis.stored_noise(name).detach().float().reshape(-1) for name in self.shapes]
        return torch.cat(maps)[None] if maps else torch.zeros(1, 0)

    def unpack(self, flat: Tensor) -> dict[str, Tensor]:
        """Views [N,1,r,r] into ``flat`` [N,P] by name, as synthesis takes them."""
        sizes = [height * width for height, width in self.shapes.values()]
        parts = flat.split(sizes, dim=1) if sizes else ()
        return {name: part.view(-1, 1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def stacks(self, flat: Tensor) -> list[Tensor]:
        """Views [N,k,r,r] into ``flat`` [N,P]: the ``k`` maps of each resolution."""
        counts = [(shape, len(list(group))) for shape, group in groupby(self.shapes.values())]
        sizes = [count * height * width for (height, width), count in counts]
        parts = flat.split(sizes, dim=1) if sizes else ()
        return [part.view(-1, count, *shape) for (shape, count), part in zip(counts, parts, strict=True)]

    def regularity(self, flat: Tensor) -> Tensor:
        """How far maps ``flat`` [N,P] are from white noise, [N]; 0 is white (Karras et al. 2020, appendix D).

        Squared autocorrelations at a shift of one pixel along both axes, summed over maps and over scales down to
        8 px. Averaging 2x2 pixels and doubling keeps unit variance from scale to scale.
        """
        total = flat.new_zeros(flat.shape[0])
        for maps in self.stacks(flat):
            while True:
                for axis in (2, 3):
                    total = total + (maps * maps.roll(1, axis)).mean(dim=(2, 3)).square().sum(dim=1)
                if min(maps.shape[2:]) <= _SMALLEST:
                    break
                maps = nn.functional.avg_pool2d(maps, 2) * 2
        return total

    def normalize_(self, flat: Tensor) -> None:
        """Bring every map to zero mean and unit variance, in place."""
        for maps in self.stacks(flat):
            maps -= maps.mean(dim=(2, 3), keepdim=True)
            maps *= (maps.square().mean(dim=(2, 3), keepdim=True) + 1e-8).rsqrt()
