"""The own format of a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import CONFIG

from latentedit.errors import ModelError
from latentedit.files import read_metadata
from latentedit.models import Model, load_network, save_network
from latentedit.networks import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    PerceptionConfig,
    PerceptionNetwork,
    fingerprint,
    mapping_fingerprint,
)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(lambda: Generator(CONFIG), id="generator"),
        pytest.param(lambda: Generator(replace(CONFIG, c_dim=3, architecture="resnet")), id="conditional"),
        pytest.param(lambda: Discriminator(DiscriminatorConfig(resolution=16, channel_base=128)), id="discriminator"),
        pytest.param(lambda: PerceptionNetwork(PerceptionConfig()), id="perception"),
    ],
)
def test_network_returns_with_the_same_config_and_weights(network, tmp_path: Path) -> None:
    original = network()
    digest = save_network(tmp_path / "n.safetensors", original)
    loaded = load_network(tmp_path / "n.safetensors")
    assert loaded.config == original.config
    assert digest == fingerprint(original) == fingerprint(loaded)
    for name, value in original.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])


def test_half_precision_on_disk_is_float32_in_memory_and_a_fixed_point(model: Model, tmp_path: Path) -> None:
    save_network(tmp_path / "full.safetensors", model.generator)
    digest = save_network(tmp_path / "half.safetensors", model.generator, dtype=torch.float16)
    loaded = load_network(tmp_path / "half.safetensors")
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert (tmp_path / "half.safetensors").stat().st_size < 0.65 * (tmp_path / "full.safetensors").stat().st_size
    assert fingerprint(loaded) == digest != fingerprint(model.generator)
    assert save_network(tmp_path / "again.safetensors", loaded, dtype=torch.float16) == digest


def test_weights_beyond_half_range_stay_float32(model: Model, tmp_path: Path) -> None:
    with torch.no_grad():
        model.generator.mapping.fc0.weight[0, 0] = 1e6
    save_network(tmp_path / "g.safetensors", model.generator, dtype=torch.float16)
    assert load_network(tmp_path / "g.safetensors").mapping.fc0.weight[0, 0] == 1e6


def test_every_flipped_bit_of_the_header_is_noticed(tmp_path: Path) -> None:
    save_network(tmp_path / "g.safetensors", Generator(replace(CONFIG, resolution=4, z_dim=2, w_dim=2, channel_max=2)))
    content = (tmp_path / "g.safetensors").read_bytes()
    expected = load_network(tmp_path / "g.safetensors").state_dict()
    size = int.from_bytes(content[:8], "little") + 8
    for position in range(0, size, 7):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        (tmp_path / "d.safetensors").write_bytes(damaged)
        try:
            state = load_network(tmp_path / "d.safetensors").state_dict()
        except ModelError:
            continue
        assert all(torch.equal(state[name], value) for name, value in expected.items())


def _rewrite(path: Path, **changes: str) -> None:
    state, metadata = load_file(path), read_metadata(path)
    from latentedit.models.network_file import _digest

    metadata.update(changes)
    metadata["digest"] = _digest(metadata, state)
    save_file(state, path, metadata=metadata)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": "{"}, "is no JSON"),
        ({"config": "[]"}, "expected an object"),
        ({"config": '{"wings": 2}'}, "unknown keys wings"),
        ({"config": '{"resolution": "16"}'}, "resolution is '16', not int"),
        ({"config": '{"resolution": 17}'}, "power of two"),
        ({"config": '{"mapping_layers": 1000000000}'}, "mapping_layers is 1000000000"),
        ({"config": '{"channel_max": 1000000000000}'}, "channel_max is 1000000000000"),
        ({"config": '{"resolution": 1024, "channel_max": 100000}'}, "do not fit the network"),
        ({"network": "Popen"}, "unknown class 'Popen'"),
        ({"network": "Encoder"}, "kind 'encoder', not 'generator'"),
    ],
)
def test_hostile_metadata_is_refused_with_a_reason(changes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save_network(path, Generator(CONFIG))
    _rewrite(path, **changes)
    with pytest.raises(ModelError, match=message):
        load_network(path, kind="generator")


def test_a_generator_names_its_mapping_as_it_was_before_rounding(model: Model, tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.float16):
        save_network(tmp_path / "g.safetensors", model.generator, dtype=dtype)
        assert read_metadata(tmp_path / "g.safetensors")["mapping"] == mapping_fingerprint(model.generator.mapping)


@pytest.mark.parametrize("network", [torch.nn.Linear(2, 2), "a text"])
def test_what_is_no_network_of_ours_is_not_saved(network: object, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"class '(Linear|str)' cannot be saved"):
        save_network(tmp_path / "x.safetensors", network)


@pytest.mark.parametrize("channels", [2, 4])
def test_generators_of_other_than_grey_and_colour_pictures_are_refused(channels: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"draws {channels} channels"):
        save_network(tmp_path / "g.safetensors", Generator(replace(CONFIG, img_channels=channels)))
