"""`load_model` and `load_generator`: what they find, lend, and leave unbuilt."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from foreign_files import write_psp
from small_models import CONFIG

from latentedit.checkpoints.rosinality import to_rosinality
from latentedit.errors import ModelError
from latentedit.faces import CropTemplate
from latentedit.models import Model, load_generator, load_model, save_model
from latentedit.networks import Generator
from latentedit.networks.psp_encoder import PspEncoder, PspEncoderConfig, default_sizes


@pytest.mark.parametrize("source", ["nobody", "/no/such/file.pkl", "a\0b", "x" * 5000])
def test_unknown_sources_list_what_there_is(source: str) -> None:
    with pytest.raises(ModelError, match=r"(There is no model .*faces64)|(is no path)"):
        load_model(source)


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


@pytest.fixture
def psp(tmp_path: Path) -> Path:
    """A checkpoint of the pSp family with its encoder."""
    generator = Generator(replace(CONFIG, z_dim=24))
    state = PspEncoder(PspEncoderConfig(6, default_sizes(6), w_dim=24, width=16)).state_dict()
    state.pop("latent_avg")
    path = tmp_path / "psp.pt"
    write_psp(path, to_rosinality(generator)["g_ema"], state, generator.mapping.w_avg.clone(), plain_opts=True)
    return path


def test_the_encoder_is_built_when_it_is_asked_for(psp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    original = PspEncoder.__init__

    def counted(self: PspEncoder, config: PspEncoderConfig) -> None:
        built.append(config)
        original(self, config)

    monkeypatch.setattr(PspEncoder, "__init__", counted)
    load_generator(psp)
    model = load_model(psp)
    assert model.has("encoder")
    assert not built
    assert model.require("encoder") is model.encoder
    assert len(set(map(id, built))) == 1


def test_an_encoder_that_cannot_be_built_costs_itself_and_is_said(psp: Path) -> None:
    content = torch.load(psp, weights_only=True)
    del content["state_dict"]["encoder.styles.2.linear.bias"]
    torch.save(content, psp)
    model = load_model(psp)
    with pytest.warns(UserWarning, match=r"the encoder was left out: .*styles\.2\.linear\.bias is missing"):
        assert model.encoder is None
    assert model.generator.resolution == 16


def test_notes_of_a_checkpoint_are_warned_of(psp: Path) -> None:
    content = torch.load(psp, weights_only=True)
    content["state_dict"] = {k: v for k, v in content["state_dict"].items() if "input_layer" not in k}
    torch.save(content, psp)
    with pytest.warns(UserWarning, match="the encoder was left out"):
        model = load_model(psp)
    assert model.encoder is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_generator(psp)
