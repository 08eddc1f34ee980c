"""Growing a trained network to twice its resolution (after Karras et al. 2018, without the fade-in)."""

from __future__ import annotations

from dataclasses import replace

import torch

from latentedit.networks import Discriminator, Generator


def grow_generator(generator: Generator) -> Generator:
    """A generator of twice the resolution that starts by rendering the enlarged images of ``generator``.

    The new block's ToRGB starts at zero, so the skip image passes through unchanged (architecture ``"skip"`` only).
    """
    grown = Generator(replace(generator.config, resolution=generator.resolution * 2))
    grown.load_state_dict(generator.state_dict(), strict=False)
    with torch.no_grad():
        getattr(grown.synthesis, f"b{grown.resolution}").torgb.weight.zero_()
    return grown


def grow_discriminator(discriminator: Discriminator) -> Discriminator:
    """A discriminator of twice the resolution that keeps the trained blocks below its new first one."""
    grown = Discriminator(replace(discriminator.config, resolution=discriminator.config.resolution * 2))
    own = grown.state_dict()
    kept = {name: value for name, value in discriminator.state_dict().items() if name in own}
    grown.load_state_dict(kept, strict=False)
    return grown
