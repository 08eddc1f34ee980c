"""Converting, and the proof that comes with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mobile_files
import numpy as np
import pytest
import torch

from latentedit.checkpoints.rosinality import to_rosinality
from latentedit.errors import LatentError, ModelError, OutputError
from latentedit.files import save_tensors
from latentedit.models import Model, load_generator, load_model, save_model, save_network
from latentedit.models.convert import TOLERANCE, convert
from latentedit.models.export import export, is_exchangeable
from latentedit.networks import Encoder, EncoderConfig, Generator, GeneratorConfig, fingerprint

CONFIG = GeneratorConfig(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(4)
    made = Generator(CONFIG).eval().requires_grad_(False)
    made.mapping.w_avg.normal_()
    return made


def test_to_a_folder_with_everything_that_the_source_has(generator: Generator, tmp_path: Path) -> None:
    encoder = Encoder(EncoderConfig(resolution=16, num_ws=6, w_dim=16, channels=(8, 8, 8)))
    save_model(tmp_path / "a", Model("a", generator, encoder, card="card"))
    proofs = list(convert(tmp_path / "a", tmp_path / "b"))
    assert [proof.seed for proof in proofs] == list(range(10))
    assert max(proof.difference for proof in proofs) == 0
    copy = load_model(tmp_path / "b")
    assert (copy.name, copy.card, copy.fingerprint) == ("b", "card", fingerprint(generator))
    assert copy.encoder is not None
    assert {path.name for path in (tmp_path / "b").glob("*.safetensors")} == {
        "generator.safetensors",
        "encoder.safetensors",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "to"),
    [("x.safetensors", None), ("x.pt", None), ("x.pt", "rosinality"), ("x.pt", "nvidia"), ("x.pt", "latentedit")],
)
def test_to_a_file_and_back(name: str, to, generator: Generator, tmp_path: Path) -> None:
    save_network(tmp_path / "g.safetensors", generator)
    assert max(proof.difference for proof in convert(tmp_path / "g.safetensors", tmp_path / name, to=to)) <= TOLERANCE
    if name == "x.pt" and to == "latentedit":
        assert (tmp_path / name).is_dir()
    assert fingerprint(load_generator(tmp_path / name)) == fingerprint(generator)


def test_rosinality_to_folder_to_rosinality_keeps_every_tensor(generator: Generator, tmp_path: Path) -> None:
    torch.save(to_rosinality(generator), tmp_path / "a.pt")
    list(convert(tmp_path / "a.pt", tmp_path / "folder"))
    list(convert(tmp_path / "folder", tmp_path / "b.pt"))
    before, after = (torch.load(tmp_path / name, weights_only=True) for name in ("a.pt", "b.pt"))
    assert set(before["g_ema"]) == set(after["g_ema"])
    assert all(torch.equal(after["g_ema"][key], value) for key, value in before["g_ema"].items())
    assert torch.equal(before["latent_avg"], after["latent_avg"])


def test_half_precision_is_proved_against_the_rounded_weights(generator: Generator, tmp_path: Path) -> None:
    save_network(tmp_path / "g.safetensors", generator)
    assert max(p.difference for p in convert(tmp_path / "g.safetensors", tmp_path / "h", dtype=torch.float16)) == 0
    small = (tmp_path / "h" / "generator.safetensors").stat().st_size
    assert small < 0.7 * (tmp_path / "g.safetensors").stat().st_size
    assert fingerprint(load_generator(tmp_path / "h")) != fingerprint(generator)


@pytest.mark.parametrize("name", ["x.pt", "folder"])
def test_a_copy_that_renders_differently_is_refused_and_leaves_nothing(
    name: str, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_network(tmp_path / "g.safetensors", generator)
    from latentedit.models import convert as module

    def damaged(*args):
        other = Generator(CONFIG).eval()
        other.load_state_dict(generator.state_dict())
        other.synthesis.b16.torgb.bias.data += 2e-4
        return other

    monkeypatch.setattr(module, "_reload", damaged)
    real = module.save_model
    monkeypatch.setattr(module, "save_model", lambda *a, **k: replace(real(*a, **k), generator=damaged()))
    with pytest.raises(ModelError, match=r"differs by 0\.0002.* at seed 0; .* was not written"):
        list(convert(tmp_path / "g.safetensors", tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def test_stopping_half_way_leaves_nothing(generator: Generator, tmp_path: Path) -> None:
    save_network(tmp_path / "g.safetensors", generator)
    for name in ("x.pt", "folder"):
        steps = convert(tmp_path / "g.safetensors", tmp_path / name)
        next(steps)
        steps.close()
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def test_a_folder_that_is_no_model_is_not_overwritten(generator: Generator, tmp_path: Path) -> None:
    save_network(tmp_path / "g.safetensors", generator)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("precious")
    with pytest.raises(OutputError, match="exists and is no model folder"):
        list(convert(tmp_path / "g.safetensors", tmp_path / "photos"))
    assert (tmp_path / "photos" / "a.jpg").read_text() == "precious"


@pytest.mark.parametrize("change", [{"c_dim": 2}, {"architecture": "resnet"}])
def test_rosinality_has_no_such_network(change, tmp_path: Path) -> None:
    save_network(tmp_path / "g.safetensors", Generator(replace(CONFIG, **change)))
    with pytest.raises(ModelError, match="skip architecture only"):
        list(convert(tmp_path / "g.safetensors", tmp_path / "x.pt"))
    assert not (tmp_path / "x.pt").exists()


def test_conditional_generators_are_proved_with_labels(tmp_path: Path) -> None:
    save_network(tmp_path / "g.safetensors", Generator(replace(CONFIG, c_dim=3)))
    assert len(list(convert(tmp_path / "g.safetensors", tmp_path / "folder"))) == 10


# --- latents and directions -------------------------------------------------------------------------------------------


@pytest.fixture
def inversion(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    ws = torch.randn(1, 6, 16)
    tensors = {"ws": ws, "noise.b4.conv1": torch.randn(4, 4)}
    save_tensors(tmp_path / "me.safetensors", tensors, {"format": "latentedit", "kind": "inversion"})
    return tmp_path / "me.safetensors", ws


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt"])
def test_inversions_in_the_shapes_of_others_return_as_they_were(suffix: str, inversion, tmp_path: Path) -> None:
    from latentedit.inversion import load_latents

    path, ws = inversion
    assert is_exchangeable(path)
    export(path, tmp_path / f"out{suffix}")
    (loaded,) = load_latents(tmp_path / f"out{suffix}").values()
    torch.testing.assert_close(loaded, ws, rtol=0, atol=0)


def test_the_shapes_are_those_of_the_other_projects(inversion, tmp_path: Path) -> None:
    path, _ = inversion
    export(path, tmp_path / "w.npz")
    assert np.load(tmp_path / "w.npz")["w"].shape == (1, 6, 16)
    export(path, tmp_path / "w.pt")
    content = torch.load(tmp_path / "w.pt", weights_only=True)["me"]
    assert content["latent"].shape == (6, 16)
    assert [noise.shape for noise in content["noise"]] == [(4, 4)]


@pytest.mark.parametrize(("shape", "expected"), [((16,), (1, 16)), ((6, 16), (1, 6, 16))])
def test_directions_in_interfacegan_shape(shape, expected, tmp_path: Path) -> None:
    normal = torch.nn.functional.normalize(torch.randn(shape), dim=-1)
    save_tensors(tmp_path / "age.safetensors", {"normal": normal}, {"format": "latentedit", "kind": "direction"})
    export(tmp_path / "age.safetensors", tmp_path / "age.npy")
    assert np.array_equal(np.load(tmp_path / "age.npy"), normal.numpy().reshape(expected))
    export(tmp_path / "age.safetensors", tmp_path / "age.pt")
    assert torch.equal(torch.load(tmp_path / "age.pt", weights_only=True), normal.reshape(expected))
    with pytest.raises(LatentError, match=r"not written as '\.npz'"):
        export(tmp_path / "age.safetensors", tmp_path / "age.npz")


def test_dictionaries_that_numpy_pickled_are_read_without_unpickling(tmp_path: Path) -> None:
    from latentedit.inversion import load_latents

    latents = {
        "a.jpg": np.random.randn(6, 16).astype(np.float32),
        "b.jpg": np.random.randn(1, 6, 16).astype(np.float32),
    }
    np.save(tmp_path / "latents.npy", latents, allow_pickle=True)
    loaded = load_latents(tmp_path / "latents.npy")
    assert list(loaded) == ["a.jpg", "b.jpg"]
    assert np.array_equal(loaded["a.jpg"].numpy(), latents["a.jpg"][None])
    assert np.array_equal(loaded["b.jpg"].numpy(), latents["b.jpg"])


@pytest.mark.parametrize("name", ["x.pt", "x.ckpt", "x.safetensors", "folder"])
def test_a_mobilestylegan_goes_to_its_authors_format_by_default(name: str, tmp_path: Path) -> None:
    graphs = mobile_files.write_graphs(tmp_path / "graphs", mobile_files.student(), mobile_files.noise_maps())
    assert max(proof.difference for proof in convert(graphs, tmp_path / name)) <= TOLERANCE
    if name in ("x.pt", "x.ckpt"):
        assert "student.input.input" in torch.load(tmp_path / name, weights_only=True)["state_dict"]
    else:
        assert fingerprint(load_generator(tmp_path / name)) == fingerprint(load_generator(graphs))
    assert max(proof.difference for proof in convert(tmp_path / name, tmp_path / "again")) <= TOLERANCE


def test_a_mobilestylegan_does_not_go_to_rosinality(tmp_path: Path) -> None:
    graphs = mobile_files.write_graphs(tmp_path / "graphs", mobile_files.student(), mobile_files.noise_maps())
    with pytest.raises(ModelError, match="StyleGAN2 generators of the skip architecture only"):
        list(convert(graphs, tmp_path / "x.pt", to="rosinality"))
    assert not (tmp_path / "x.pt").exists()
