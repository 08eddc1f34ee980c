"""Tiny random models: the mathematics of an inversion or an edit does not need a good one."""

from __future__ import annotations

import numpy as np
import torch

from latentedit.faces import CropTemplate
from latentedit.models import Model
from latentedit.networks import Encoder, EncoderConfig, Generator, GeneratorConfig
from latentedit.networks.perception import PerceptionConfig, PerceptionNetwork

RESOLUTION = 16
W_DIM = 12


def make_generator(seed: int = 0, resolution: int = RESOLUTION) -> Generator:
    torch.manual_seed(seed)
    config = GeneratorConfig(
        resolution=resolution, z_dim=W_DIM, w_dim=W_DIM, mapping_layers=2, channel_base=256, channel_max=16
    )
    generator = Generator(config).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)
        if "torgb.weight" in name:
            parameter.mul_(0.3)
    generator.mapping.w_avg.copy_(generator.mapping(torch.randn(200, W_DIM))[:, 0].mean(dim=0))
    return generator


def make_model(seed: int = 0, *, encoder: bool = True, resolution: int = RESOLUTION) -> Model:
    generator = make_generator(seed, resolution)
    levels = resolution.bit_length() - 2
    network = None
    if encoder:
        config = EncoderConfig(resolution, generator.num_ws, W_DIM, channels=(8,) * levels, offsets=True)
        network = Encoder(config).eval().requires_grad_(False)
        network.w_avg.copy_(generator.mapping.w_avg)
        network.base.weight.mul_(0.1)
    perception = PerceptionNetwork(
        PerceptionConfig(size=16, widths=(8, 12), blocks=(1, 1), hidden=16, identity_dim=8, attributes=("smile",))
    )
    return Model(
        name="tiny",
        generator=generator,
        encoder=network,
        perception=perception.eval().requires_grad_(False),
        template=CropTemplate(0.7, 0.1),
    )


def landmarks_in(left: float, top: float, size: float) -> np.ndarray:
    """Points that are a face as far as the crop is concerned: eyes and mouth at their places."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (0.3, 0.35), (0.7, 0.35)
    points[48], points[54] = (0.35, 0.75), (0.65, 0.75)
    return points * size + (left, top)
