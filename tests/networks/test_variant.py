"""Variants of a network share everything but the weights that they replace."""

from __future__ import annotations

import pytest
import torch

from latentedit.networks import Generator, GeneratorConfig
from latentedit.networks.variant import with_weights


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8)
    return Generator(config).eval().requires_grad_(False)


def test_a_variant_renders_as_functional_call_does(generator):
    ws = torch.randn(2, generator.num_ws, 8)
    old = {name: generator.synthesis.get_parameter(name) for name in ("b8.conv1.weight", "b16.conv1.weight")}
    weights = {name: torch.randn_like(weight) for name, weight in old.items()}
    expected = torch.func.functional_call(generator.synthesis, weights, (ws,))
    before = generator.synthesis(ws)
    assert torch.equal(with_weights(generator.synthesis, weights)(ws), expected)
    assert torch.equal(generator.synthesis(ws), before)
    assert not torch.equal(expected, before)


def test_gradients_flow_into_the_replaced_weights(generator):
    name = "synthesis.b8.conv0.weight"
    weight = generator.get_parameter(name).clone().requires_grad_()
    variant = with_weights(generator, {name: weight})
    variant.synthesis(torch.randn(1, generator.num_ws, 8)).sum().backward()
    assert weight.grad.abs().max() > 0
    assert generator.get_parameter(name).grad is None


def test_only_the_way_to_a_weight_is_copied(generator):
    variant = with_weights(generator, {"synthesis.b8.conv0.weight": torch.zeros(8, 8, 3, 3)})
    same = {name for name, module in variant.named_modules() if module is dict(generator.named_modules()).get(name)}
    apart = set(dict(generator.named_modules())) - same
    assert apart == {"", "synthesis", "synthesis.b8", "synthesis.b8.conv0"}
    tensors = dict(generator.named_parameters()) | dict(generator.named_buffers())
    new = [*variant.named_parameters(), *variant.named_buffers()]
    assert [name for name, tensor in new if tensor is not tensors[name]] == ["synthesis.b8.conv0.weight"]
    assert list(variant.state_dict()) == list(generator.state_dict())


def test_unknown_names_are_refused(generator):
    for name in ("b8.nothing", "nothing.weight", "synthesis.b8.conv0.wight"):
        with pytest.raises(KeyError):
            with_weights(generator, {name: torch.zeros(1)})
