"""A tiny random generator, and codes of it with everything that a code can have."""

from __future__ import annotations

import pytest
import torch

from latentedit.codes import Code
from latentedit.networks import Generator, GeneratorConfig


@pytest.fixture(scope="session")
def generator() -> Generator:
    torch.manual_seed(3)
    config = GeneratorConfig(resolution=16, z_dim=12, w_dim=12, mapping_layers=2, channel_base=128, channel_max=16)
    network = Generator(config).eval().requires_grad_(False)
    for name in network.synthesis.noise_shapes:
        network.synthesis.noise_gain(name).fill_(0.2)
    return network


@pytest.fixture(scope="session")
def code(generator: Generator) -> Code:
    """Three rows with noise in two layers; the first and the last have a weight change."""
    stream = torch.Generator().manual_seed(5)
    synthesis = generator.synthesis
    names = ["b8.conv1", "b16.conv0"]
    noise = {name: torch.randn(3, 1, *synthesis.noise_shapes[name], generator=stream) for name in names}
    weight = synthesis.get_parameter("b16.conv1.weight")
    shapes = (len(weight), 2), (2, weight[0].numel())
    deltas = [{"b16.conv1.weight": tuple(torch.randn(shape, generator=stream) for shape in shapes)} for _ in range(2)]
    ws = torch.randn(3, generator.num_ws, 12, generator=stream)
    return Code(ws, noise, (deltas[0], {}, deltas[1]))
