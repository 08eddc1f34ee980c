"""Tiny random models, and targets that they can reach."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny import W_DIM, make_model

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
