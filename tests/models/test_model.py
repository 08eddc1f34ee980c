"""The own format and the model folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentedit.errors import ModelError
from latentedit.faces import CropTemplate
from latentedit.files import read_metadata
from latentedit.models import Model, load_generator, load_model, load_network, save_model, save_network
from latentedit.models.folder import verify_folder
from latentedit.networks import (
    Discriminator,
    DiscriminatorConfig,
    Encoder,
    EncoderConfig,
    Generator,
    GeneratorConfig,
    PerceptionConfig,
    PerceptionNetwork,
    fingerprint,
)

CONFIG = GeneratorConfig(resolution=16, z_dim=16, w_dim=24, mapping_layers=2, channel_base=128, channel_max=16)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTEDIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    generator = Generator(CONFIG)
    encoder = Encoder(EncoderConfig(resolution=16, num_ws=generator.num_ws, w_dim=24, channels=(8, 8, 8)))
    template = CropTemplate(scale=0.8, shift=0.1)
    return Model("tiny", generator, encoder, template=template, card="# Tiny\n", licence="CC0-1.0")


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


def test_model_folder_round_trip(model: Model, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    save_file({"normal": torch.ones(24)}, tmp_path / "source" / "age.safetensors")
    save_model(tmp_path / "m", replace(model, directions=tmp_path / "source"))
    loaded = load_model(tmp_path / "m")
    assert (loaded.name, loaded.template, loaded.card, loaded.licence) == (
        "tiny",
        model.template,
        "# Tiny\n",
        "CC0-1.0",
    )
    assert loaded.fingerprint == model.fingerprint == fingerprint(loaded.generator)
    assert loaded.directions == tmp_path / "m" / "directions"
    assert (loaded.directions / "age.safetensors").is_file()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded.encoder(x), model.encoder.eval()(x))
    assert fingerprint(load_generator(tmp_path / "m")) == model.fingerprint
    assert fingerprint(load_generator(tmp_path / "m" / "generator.safetensors")) == model.fingerprint
    verify_folder(tmp_path / "m")


def test_saving_without_an_encoder_removes_the_earlier_one(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    assert save_model(tmp_path / "m", replace(model, encoder=None)).encoder is None
    assert not (tmp_path / "m" / "encoder.safetensors").exists()


def test_missing_part_names_the_remedy(model: Model) -> None:
    with pytest.raises(ModelError, match=r"'tiny' has no perception.*latentedit model add"):
        model.require("perception")
    assert model.require("encoder") is model.encoder


def test_users_own_directions_come_first(model: Model, tmp_path: Path) -> None:
    own = model.user_directions
    assert own == tmp_path / "home" / "directions" / model.fingerprint
    assert model.direction_folders == ()
    own.mkdir(parents=True)
    shipped = replace(model, directions=tmp_path)
    assert shipped.direction_folders == (own, tmp_path)


def test_encoder_of_another_generator_is_refused(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "a", model)
    save_model(tmp_path / "b", replace(model, generator=Generator(CONFIG), fingerprint=""))
    (tmp_path / "a" / "encoder.safetensors").write_bytes((tmp_path / "b" / "encoder.safetensors").read_bytes())
    with pytest.raises(ModelError, match="belongs to the generator"):
        load_model(tmp_path / "a")


def test_a_changed_file_is_told_by_its_hash_and_its_digest(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    path = tmp_path / "m" / "generator.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="digest"):
        load_model(tmp_path / "m")
    with pytest.raises(ModelError, match="SHA-256"):
        verify_folder(tmp_path / "m")


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "does not describe"),
        ('{"format": "other"}', "does not describe"),
        ('{"format": "latentedit-model", "version": 9}', "unknown version 9"),
        ('{"format": "latentedit-model", "version": 1, "template": {"scale": -1}}', "crop template"),
    ],
)
def test_damaged_manifest(content: str, message: str, model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    (tmp_path / "m" / "model.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m")


def test_listed_part_that_is_missing(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model)
    (tmp_path / "m" / "encoder.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no file .*encoder\.safetensors"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("source", ["nobody", "/no/such/file.pkl", "a\0b", "x" * 5000])
def test_unknown_sources_list_what_there_is(source: str) -> None:
    with pytest.raises(ModelError, match=r"(There is no model .*faces64)|(is no path)"):
        load_model(source)


def test_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.json"):
        load_model(tmp_path)


def test_manifest_holds_hashes_and_sizes(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model, dtype=torch.float16)
    manifest = json.loads((tmp_path / "m" / "model.json").read_text())
    assert set(manifest["files"]) == {"generator.safetensors", "encoder.safetensors"}
    for name, entry in manifest["files"].items():
        assert entry["bytes"] == (tmp_path / "m" / name).stat().st_size
    assert manifest["resolution"] == 16


@pytest.mark.parametrize("template", [CropTemplate(), CropTemplate(0.55, 0.2), CropTemplate(0.8, 0.0)])
def test_a_lent_perception_network_looks_at_its_own_part_of_the_crop(template: CropTemplate, tmp_path: Path) -> None:
    embedded = load_model()
    save_model(tmp_path / "m", Model("m", Generator(CONFIG), template=template))
    lent = load_model(tmp_path / "m").perception
    assert lent is not embedded.perception
    images = torch.rand(2, 3, 96, 96) * 2 - 1
    expected = embedded.perception.for_template(template.scale, template.shift).perceive(images)
    torch.testing.assert_close(lent.perceive(images).identity, expected.identity)
    own = embedded.perception.perceive(images).identity
    assert torch.allclose(lent.perceive(images).identity, own) == (template == embedded.template)
    assert embedded.perception.window is None
