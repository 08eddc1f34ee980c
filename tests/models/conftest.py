"""A model that is drawn, not trained."""

from __future__ import annotations

import pytest
import torch
from small_models import CONFIG

from latentedit.faces import CropTemplate
from latentedit.models import Model
from latentedit.networks import Encoder, EncoderConfig, Generator


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    generator = Generator(CONFIG)
    encoder = Encoder(EncoderConfig(resolution=16, num_ws=generator.num_ws, w_dim=24, channels=(8, 8, 8)))
    template = CropTemplate(scale=0.8, shift=0.1)
    return Model("tiny", generator, encoder, template=template, card="# Tiny\n", licence="CC0-1.0")
