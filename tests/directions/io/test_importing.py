"""Directions and latents from files: other projects' shapes, tables of labels, the store, discovery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from array_files import write

from latentedit.directions import (
    Direction,
    import_directions,
)
from latentedit.errors import DirectionError, FingerprintError
from latentedit.latents import seed_z
from latentedit.models import load_generator
from latentedit.networks import StyleGenerator, fingerprint

RNG = np.random.default_rng(0)


ONE, MANY = RNG.standard_normal((1, 12)), RNG.standard_normal((6, 12))


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize(
    ("array", "shape"),
    [(ONE[0], (12,)), (ONE, (12,)), (MANY, (6, 12)), (MANY[None], (6, 12)), (np.repeat(ONE, 6, 0), (12,))],
)
def test_every_shape_in_the_wild(tiny, tmp_path: Path, suffix: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    path = write(tmp_path / f"Big-Smile 2{suffix}", array if suffix == ".npy" else torch.from_numpy(array))
    (found,) = import_directions(path, tiny).values()
    assert found.name == "big_smile_2"
    assert tuple(found.normal.shape) == shape
    assert found.fingerprint == fingerprint(tiny)
    expected = array.reshape(-1, 12) if len(shape) == 2 else array.reshape(-1, 12)[:1]
    norm = np.sqrt((expected**2).sum(1).mean())
    np.testing.assert_allclose(found.normal.numpy().reshape(-1, 12) * found.settings["norm"], expected, atol=1e-5)
    assert found.settings["norm"] == pytest.approx(norm)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_keyed_files_hold_many(tiny, tmp_path: Path, suffix: str) -> None:
    torch_kind = suffix in (".pt", ".safetensors")
    value = {"age": ONE, "smile": MANY}
    path = write(tmp_path / f"all{suffix}", {k: torch.from_numpy(v) for k, v in value.items()} if torch_kind else value)
    assert {name: tuple(d.normal.shape) for name, d in import_directions(path, tiny).items()} == {
        "age": (12,), "smile": (6, 12),
    }  # fmt: skip
    assert list(import_directions(path, tiny, name="smile")) == ["smile"]
    with pytest.raises(DirectionError, match=r"has no direction 'hat'\. It holds: age, smile"):
        import_directions(path, tiny, name="hat")


def test_layers_of_zeros_are_left_alone(tiny, tmp_path: Path) -> None:
    rows = np.zeros((6, 12))
    rows[2:4] = ONE
    found = import_directions(write(tmp_path / "a.npy", rows), tiny)["a"]
    assert found.layers == (2, 3)
    torch.testing.assert_close(found.normal, torch.from_numpy(ONE[0] / np.linalg.norm(ONE)).float())


def test_other_shapes_belong_to_other_generators(tiny, tmp_path: Path) -> None:
    with pytest.raises(FingerprintError, match=r"shape \[18, 512\].*w_dim 12, 6 layers.*--model"):
        import_directions(write(tmp_path / "a.npy", np.ones((18, 512))), tiny)


def test_a_file_of_our_own_is_checked_against_the_generator(tiny, tmp_path: Path) -> None:
    mine = Direction("age", torch.ones(12), fingerprint=fingerprint(tiny)).save(tmp_path / "mine.safetensors")
    assert import_directions(mine, tiny, name="older")["older"].name == "older"
    foreign = Direction("age", torch.ones(12), fingerprint="feed").save(tmp_path / "foreign.safetensors")
    with pytest.raises(FingerprintError, match="belongs to the generator feed"):
        import_directions(foreign, tiny)


# --- latents and labels -------------------------------------------------------------------------------------------

WS = RNG.standard_normal((5, 6, 12)).astype(np.float32)


# --- store --------------------------------------------------------------------------------------------------------


# --- discovery ----------------------------------------------------------------------------------------------------


# --- what is no direction of W ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded() -> StyleGenerator:
    return load_generator("faces64")


def latents_of(generator: StyleGenerator, count: int, psi: float = 1.0) -> np.ndarray:
    return generator.mapping(seed_z(range(900, 900 + count), generator.z_dim), truncation_psi=psi).numpy()


@pytest.mark.parametrize("psi", [1.0, 0.5])
@pytest.mark.parametrize("shape", ["one", "rows", "batch"])
def test_latents_are_told_by_norm_and_mean(embedded, tmp_path: Path, psi: float, shape: str) -> None:
    ws = latents_of(embedded, 3, psi)
    value = {"one": ws[0, 0], "rows": ws[0], "batch": ws}[shape]
    path = write(tmp_path / "face.npy", value)
    with pytest.raises(DirectionError, match=r"'face' in .* is no direction but latents: .* long.*--space w"):
        import_directions(path, embedded)
    if shape != "batch":  # who knows better may say so
        assert import_directions(path, embedded, space="w+")["face"].normal.shape[-1] == 512


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projected_w.npz", {"w": ONE[None]}),
        ("a.npz", {"latents": ONE}),
        ("a.npy", {"x.jpg": ONE}),
        ("anna_latent.npy", ONE),
    ],
)
def test_latents_are_told_by_name(tiny, tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(DirectionError, match="is no direction but latents: called"):
        import_directions(write(tmp_path / name, value), tiny)


def test_an_inversion_is_no_direction(tiny, tmp_path: Path) -> None:
    path = write(tmp_path / "face.safetensors", {"ws": torch.zeros(1, 6, 12)})
    with pytest.raises(DirectionError, match=r"'ws' in .* is no direction but latents"):
        import_directions(path, tiny)


def test_directions_that_talk_of_latents_are_directions(tiny, tmp_path: Path) -> None:
    assert list(import_directions(write(tmp_path / "latent_direction_age.npy", 0.1 * ONE), tiny)) == [
        "latent_direction_age"
    ]


def test_boundaries_of_z_are_refused_by_name_and_carried_over_when_asked(embedded, tmp_path: Path) -> None:
    z = RNG.standard_normal((1, 512))
    path = write(tmp_path / "stylegan_ffhq_age_boundary.npy", z / np.linalg.norm(z))
    with pytest.raises(DirectionError, match=r"boundary of InterFaceGAN in Z.*--space z.*--space w"):
        import_directions(path, embedded)
    assert import_directions(path, embedded, space="w")
    (found,) = import_directions(path, embedded, space="z").values()
    unit = torch.from_numpy(z / np.linalg.norm(z)).float()
    samples = seed_z(range(5000, 5300), 512)  # others than it was made from
    moved = (embedded.mapping(samples + unit) - embedded.mapping(samples - unit))[:, 0].mean(0)
    assert float(torch.cosine_similarity(moved, found.normal, dim=0)) > 0.95
    assert 0 < found.settings["agreement"] <= 1
    named = write(tmp_path / "stylegan_ffhq_age_w_boundary.npy", z / np.linalg.norm(z))
    assert list(import_directions(named, embedded)) == ["stylegan_ffhq_age_w_boundary"]


def test_a_boundary_of_another_z_is_refused(tiny, tmp_path: Path) -> None:
    with pytest.raises(FingerprintError, match=r"shape \[1, 512\] does not fit this generator's z of 8"):
        import_directions(write(tmp_path / "age_boundary.npy", np.ones((1, 512))), tiny, space="z")


BASIS = np.linalg.qr(RNG.standard_normal((12, 12)))[0]


@pytest.mark.parametrize(
    "value",
    [BASIS[:9, None], np.repeat(BASIS[:9, None], 6, 1), BASIS[:9], BASIS[:6]],
    ids=["[9,1,D]", "[9,L,D]", "[9,D]", "[L,D] orthonormal"],
)
def test_components_are_chosen_by_number(tiny, tmp_path: Path, value: np.ndarray) -> None:
    path = write(tmp_path / "pca.npy", value)
    with pytest.raises(DirectionError, match=rf"holds {len(value)} directions side by side.*--component, from 0 to"):
        import_directions(path, tiny)
    with pytest.raises(DirectionError, match=r"none of number 40\."):
        import_directions(path, tiny, component=40)
    (found,) = import_directions(path, tiny, component=2).values()
    assert found.name == "pca_2"
    np.testing.assert_allclose(found.normal.numpy(), BASIS[2], atol=1e-6)
    assert found.settings["kind"].startswith("component 2 of")


def test_files_of_ganspace_bring_their_spread(tiny, tmp_path: Path) -> None:
    path = write(
        tmp_path / "stylegan2-ffhq_style_ipca.npz",
        {"lat_comp": BASIS[:9, None], "lat_stdev": np.arange(9.0) + 1, "lat_mean": np.ones((1, 12)),
         "act_comp": BASIS[:9, None], "var_ratio": np.ones(9)},
    )  # fmt: skip
    (found,) = import_directions(path, tiny, component=3, name="glow").values()
    assert found.name == "glow"
    assert found.metrics["spread"] == 4.0
    np.testing.assert_allclose(found.normal.numpy(), BASIS[3], atol=1e-6)
    with pytest.raises(DirectionError, match="holds 9 directions side by side, such as GANSpace's"):
        import_directions(path, tiny)


def test_an_unknown_space_is_refused(tiny, tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match=r"Space 'y' is unknown\. Choose auto, z, w, w\+"):
        import_directions(write(tmp_path / "a.npy", ONE), tiny, space="y")  # type: ignore[arg-type]
