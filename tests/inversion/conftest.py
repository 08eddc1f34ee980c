"""Tiny random models, and targets that they can reach."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import W_DIM, landmarks_in, make_model

from latentedit.faces import align
from latentedit.images import to_pil
from latentedit.models import Model


@pytest.fixture(scope="session")
def new_model() -> Callable[..., Model]:
    """``new_model(seed, encoder=True, resolution=16)``: another random model."""
    return make_model


@pytest.fixture(scope="session")
def model() -> Model:
    return make_model()


@pytest.fixture(scope="session")
def targets(model: Model) -> torch.Tensor:
    """Eight images [8,3,R,R] that the generator can make, with noise that is not the stored one."""
    torch.manual_seed(5)
    ws = model.generator.mapping(torch.randn(8, W_DIM))
    noise = {name: torch.randn(8, 1, *shape) for name, shape in model.generator.synthesis.noise_shapes.items()}
    return model.generator.synthesis(ws, noise=noise).clamp(-1, 1)


@pytest.fixture(scope="session")
def crops(targets):
    return to_pil(targets)


@pytest.fixture(scope="session")
def wide_photo():
    stream = np.random.RandomState(0)
    small = Image.fromarray(stream.randint(0, 255, (9, 12, 3)).astype(np.uint8))
    return small.resize((120, 90), Image.Resampling.BICUBIC)


@pytest.fixture
def two_faces(monkeypatch):
    """A detector that finds two faces in every photo; detection itself is tested elsewhere."""
    import latentedit.faces

    def align_photo(image, template, size, *, face=1, detector="auto"):
        found = [align(image, landmarks_in(10 + 50 * i, 20, 40), template, size) for i in range(2)]
        return found if face == "all" else found[face - 1]

    monkeypatch.setattr(latentedit.faces, "align_photo", align_photo)
