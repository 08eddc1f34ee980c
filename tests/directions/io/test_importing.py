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
from latentedit.networks import fingerprint

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
