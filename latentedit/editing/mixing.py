"""`mix`: the style of one face in some layers of another.

Karras et al. 2019, section 3.1: coarse layers carry pose, hair and the shape of the face, middle ones its features,
fine ones colours and lighting. Legend: ``N`` subjects, ``L`` style layers.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from latentedit.editing.result import Edit
from latentedit.editing.subject import Faces, Subject, subject_of
from latentedit.errors import LatentError
from latentedit.latents import Layers, layer_indices
from latentedit.models import ModelLike
from latentedit.networks import StyleGenerator


def mix(
    a: Faces,
    b: Faces,
    *,
    layers: Layers = "middle",
    strength: float = 1.0,
    generator: StyleGenerator | None = None,
    model: ModelLike | None = None,
) -> Edit:
    """Face ``a`` with the given ``layers`` of face ``b``; the result pastes back into the photo of ``a``.

    Args:
        a, b: what `edit` takes; one of them may be single and the other a batch.
        layers: "coarse", "middle", "fine", "0-6", numbers, or None for all.
        strength: 0 leaves ``a`` as it is, 1 takes the layers of ``b`` whole. Beyond 1 exaggerates.
        generator, model: as for `edit`.

    Noise maps and weight changes that an inversion found follow its layers: all layers at strength 1 show ``b``.

    Raises:
        FingerprintError: faces of different generators. LatentError: batches of different sizes, or a strength that is
            not finite. LayerError: layers that are not there.
    """
    first = subject_of(a, generator=generator, model=model)
    second = subject_of(b, model=first.model)
    if not torch.isfinite(torch.tensor(float(strength))):
        raise LatentError(f"strength={strength} is no finite number.", "Choose 0 to 1.")
    first, second = _same_count(first, second)
    chosen = layer_indices(layers, first.model.generator.synthesis.layer_resolutions)
    shares = [float(strength) if layer in chosen else 0.0 for layer in range(first.model.generator.num_ws)]
    code = first.code.blend(second.code, shares, first.model.generator)
    return Edit(before=first, subject=replace(first, code=code))


def _same_count(first: Subject, second: Subject) -> tuple[Subject, Subject]:
    if len(first) == len(second):
        return first, second
    if len(second) == 1:
        return first, second.take([0] * len(first))
    if len(first) == 1:
        return first.take([0] * len(second)), second
    raise LatentError(f"{len(first)} faces cannot be mixed with {len(second)}.", "Give one, or the same number.")
