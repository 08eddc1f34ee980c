"""The fingerprint of a mapping network: the same for the same function, however it is stored."""

from __future__ import annotations

import copy

import pytest
import torch

from latentedit.networks import MappingNetwork, mapping_fingerprint


def made(seed: int = 0, c_dim: int = 0, lr_multiplier: float = 0.01) -> MappingNetwork:
    torch.manual_seed(seed)
    return MappingNetwork(32, c_dim, 24, 10, num_layers=4, lr_multiplier=lr_multiplier)


def stored_differently(mapping: MappingNetwork, lr_multiplier: float) -> MappingNetwork:
    """The same function with the multiplier in the weights, rounded to float32 on the way."""
    other = made(1, mapping.c_dim, lr_multiplier)
    ratio = 0.01 / lr_multiplier
    state = {name: value * ratio if name.startswith("fc") else value for name, value in mapping.state_dict().items()}
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize("c_dim", [0, 3])
def test_the_same_function_has_the_same_fingerprint(c_dim: int) -> None:
    mapping = made(c_dim=c_dim)
    for lr_multiplier in (1.0, 0.1, 0.003):
        other = stored_differently(mapping, lr_multiplier)
        assert not torch.equal(other.fc0.weight, mapping.fc0.weight)
        assert mapping_fingerprint(other) == mapping_fingerprint(mapping)


def test_it_has_sixteen_digits_and_leaves_the_network_alone() -> None:
    mapping = made()
    before = copy.deepcopy(mapping.state_dict())
    assert len(mapping_fingerprint(mapping)) == 16
    assert int(mapping_fingerprint(mapping), 16) >= 0
    assert all(torch.equal(value, before[name]) for name, value in mapping.state_dict().items())
    assert mapping.fc0.weight.dtype == torch.float32


def test_the_average_plays_no_part() -> None:
    mapping = made()
    before = mapping_fingerprint(mapping)
    mapping.w_avg.add_(1)
    assert mapping_fingerprint(mapping) == before


def test_other_networks_have_others() -> None:
    mapping = made()
    tuned = copy.deepcopy(mapping)
    tuned.fc3.bias.data += 5  # 0.05 once scaled: what a short training does
    prints = {mapping_fingerprint(network) for network in (mapping, tuned, made(1), made(2), made(0, c_dim=2))}
    assert len(prints) == 5
