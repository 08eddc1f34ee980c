"""Directions and latents from files: other projects' shapes, tables of labels, the store, discovery."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from latentedit.directions import (
    Direction,
    discover_components,
    discover_weights,
    import_directions,
    list_directions,
    load_direction,
    save_directions,
)
from latentedit.directions.fitting.probe import Probe
from latentedit.directions.io.importing import calibrate_imported
from latentedit.directions.io.tables import read_labelled, read_labels, read_latents
from latentedit.directions.store import load_directions
from latentedit.errors import DirectionError, FingerprintError, LatentError, UnsafeCheckpointError
from latentedit.networks import Generator, GeneratorConfig, fingerprint

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tiny() -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(resolution=16, z_dim=8, w_dim=12, mapping_layers=2, channel_base=64)).eval()


def write(path: Path, value: object) -> Path:
    if path.suffix == ".pt":
        torch.save(value, path)
    elif path.suffix == ".npz":
        np.savez(path, **value)  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        save_file(value, path)  # type: ignore[arg-type]
    else:
        np.save(path, value, allow_pickle=True)  # type: ignore[arg-type]
    return path


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


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch pwned",)


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_hostile_pickles_are_refused_and_not_run(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / f"a{suffix}", {"age": Hostile()})
    with pytest.raises(UnsafeCheckpointError, match="system"):
        import_directions(path, tiny)
    assert not (tmp_path / "pwned").exists()


def test_unreadable_files_are_refused(tiny, tmp_path: Path) -> None:
    with pytest.raises(LatentError, match="There is no file"):
        import_directions(tmp_path / "none.npy", tiny)
    for name, data in (("a.npy", b"hello"), ("a.npz", b"PK"), ("a.pt", pickle.dumps([])), ("a.npy", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LatentError, match=r"cannot be read|holds no arrays"):
            import_directions(tmp_path / name, tiny)
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(LatentError, match=r"no file of arrays.*\.npy, \.npz"):
        import_directions(tmp_path / "a.txt", tiny)
    with pytest.raises(DirectionError, match="not finite"):
        import_directions(write(tmp_path / "nan.npy", np.full(12, np.nan)), tiny)


def test_an_imported_direction_is_turned_and_measured(generator, perception) -> None:
    probe = Probe(generator, perception, batch=256)
    backwards = Direction("age", -perception.age, fingerprint=fingerprint(generator))
    found = calibrate_imported(probe, backwards, None)
    torch.testing.assert_close(found.normal, perception.age)
    assert found.unit == "years"
    assert found.calibration is not None
    assert found.calibration.slope == pytest.approx(8, rel=0.05)
    other = Direction("charm", perception.smile)
    assert calibrate_imported(probe, other, None) is other
    assert calibrate_imported(probe, other, "smile").unit == "probability"
    with pytest.raises(DirectionError, match="Unknown attribute 'halo'"):
        calibrate_imported(probe, other, "halo")


# --- latents and labels -------------------------------------------------------------------------------------------

WS = RNG.standard_normal((5, 6, 12)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.npz", {"w": WS, "other": np.ones(3)}),
        ("a.npz", {"ws": WS}),
        ("a.npy", WS),
        ("a.pt", torch.from_numpy(WS)),
        ("a.pt", {"x.jpg": {"latent": torch.from_numpy(WS[:2])}, "y.jpg": {"latent": torch.from_numpy(WS[2:])}}),
        ("a.npy", {"x.jpg": WS[:2], "y.jpg": WS[2:]}),
    ],
)
def test_latents_of_every_usual_file(tmp_path: Path, name: str, value: object) -> None:
    np.testing.assert_array_equal(read_latents(write(tmp_path / name, value)), WS)


def test_ambiguous_latents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LatentError, match="a, b: none of them is clearly the latents"):
        read_latents(write(tmp_path / "a.npz", {"a": WS, "b": WS[:, :3]}))


def test_labels_line_by_line_or_by_row(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,age,smile\na.jpg,20,yes\nb.jpg,,no\nc.jpg,40.5,True\n", encoding="utf-8-sig")
    labels = read_labels(table, 3)
    assert list(labels) == ["age", "smile"]
    np.testing.assert_array_equal(labels["age"], [20, np.nan, 40.5])
    np.testing.assert_array_equal(labels["smile"], [1, 0, 1])
    table.write_text("row,age\n4,50\n0,10\n")
    np.testing.assert_array_equal(read_labels(table, 5)["age"], [10, np.nan, np.nan, np.nan, 50])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age\n1\n2\n", "has 2 lines for 5 latents.*column 'row'"),
        ("row,age\n7,1\n", "names latents that do not exist.*0 to 4"),
        ("row,age\nx,1\n", "names latents that do not exist"),
        ("name\na\nb\nc\nd\ne\n", "has no column of numbers"),
        ("", "has no column of numbers|lines for 5"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DirectionError, match=message):
        read_labels(tmp_path / "labels.csv", 5)


def test_tables_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", 5)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DirectionError, match="cannot be read"):
        read_labels(tmp_path / "binary.csv", 5)


def test_labelled_latents_know_units_and_aliases(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", {"w": WS})
    (tmp_path / "a.csv").write_text("gender,dimple\n" + "1,0\n0,1\n" * 2 + "1,1\n")
    found = read_labelled(tmp_path / "a.npz", tmp_path / "a.csv", units={"male": "probability"}, fingerprint="f")
    assert list(found.scores) == ["male", "dimple"]
    assert found.units == {"male": "probability"}
    np.testing.assert_allclose(found.w, WS.mean(1), atol=1e-6)


# --- store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(tmp_path: Path) -> SimpleNamespace:
    """A model with directions of its own and of the user's."""
    came, own = tmp_path / "came", tmp_path / "own"
    save_directions({name: Direction(name, torch.ones(4), fingerprint="f") for name in ("age", "gender")}, came)
    save_directions({"age": Direction("age", torch.tensor([1.0, 0, 0, 0]), fingerprint="f")}, own)
    (came / ".half-written.safetensors").write_bytes(b"")
    return SimpleNamespace(name="toy", fingerprint="f", direction_folders=(own, came), directions=came)


def test_the_users_own_directions_come_first(owner) -> None:
    assert {name: path.parent.name for name, path in list_directions(owner).items()} == {"age": "own", "gender": "came"}
    assert float(load_direction("age", owner).normal[0]) == 1
    assert list(load_directions(owner)) == ["age", "gender"]


def test_aliases_find_their_direction(owner) -> None:
    assert load_direction("male", owner).name == "gender"
    assert load_direction("Gender", owner).name == "gender"


def test_unknown_names_list_the_known_ones(owner) -> None:
    with pytest.raises(DirectionError, match=r"Unknown attribute or direction 'halo'.*'toy': age, gender.*fit"):
        Direction.load("halo", owner)
    bare = SimpleNamespace(name="bare", fingerprint="f", direction_folders=())
    with pytest.raises(DirectionError, match="The model has none"):
        Direction.load("age", bare)  # type: ignore[arg-type]


def test_directions_of_another_generator_are_refused(owner) -> None:
    owner.fingerprint = "g"
    with pytest.raises(FingerprintError, match="belongs to the generator f, not to g"):
        load_direction("age", owner)
    with pytest.raises(FingerprintError, match="belongs to the generator f, not to g"):
        load_direction(owner.directions / "age.safetensors", owner)
    assert load_direction(owner.directions / "age.safetensors").name == "age"


def test_names_must_be_typeable(tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match=r"'\.\./age' cannot be the name"):
        save_directions({"../age": Direction("x", torch.ones(4))}, tmp_path)


# --- discovery ----------------------------------------------------------------------------------------------------


def test_components_are_those_of_the_covariance() -> None:
    w = RNG.standard_normal((20_000, 4)) * np.array([1.0, 5.0, 2.0, 1.0]) + 3
    first, second = discover_components(w, 2)
    np.testing.assert_allclose(first.normal.abs().numpy(), [0, 1, 0, 0], atol=0.05)
    np.testing.assert_allclose(second.normal.abs().numpy(), [0, 0, 1, 0], atol=0.05)
    assert first.settings["share"] == pytest.approx(25 / 31, abs=0.02)
    assert float(first.distance(torch.full((1, 2, 4), 3.0))) == pytest.approx(0, abs=0.1)
    with pytest.raises(DirectionError, match="9 components cannot be had from 20000 latents of 4 dimensions"):
        discover_components(w, 9)


def test_weights_give_the_directions_that_change_styles_most(tiny) -> None:
    found = discover_weights(tiny, 12, layers="0-2")
    layers = tiny.synthesis.b4.conv1, tiny.synthesis.b8.conv0, tiny.synthesis.b8.conv1
    weights = torch.cat([layer.affine.weight.detach() for layer in layers])
    change = [float((weights @ d.normal).square().sum()) for d in found]
    assert change == sorted(change, reverse=True)
    assert change[0] == pytest.approx(float(torch.linalg.matrix_norm(weights, 2)) ** 2, rel=1e-4)
    assert found[0].layers == (0, 1, 2)
    assert found[0].fingerprint == fingerprint(tiny)
    with pytest.raises(DirectionError, match="13 directions cannot be had from 12"):
        discover_weights(tiny, 13)
