"""Pairs: pictures are the generator's of their latents, shards go on where they stopped, samples follow seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentedit.errors import ImageError
from latentedit.networks import Generator
from latentedit.training.encoding.pairs import Pairs, PairsConfig, add_landmarks, render_shards, sample_latents

CONFIG = PairsConfig(size=32, shard_size=16)


def test_pictures_are_those_of_their_latents(generator: Generator, pairs_folder: Path) -> None:
    pairs = Pairs(pairs_folder, num_ws=8)
    rows = [0, 17, len(pairs) - 1]
    images = generator.synthesis(pairs.latents(rows), noise_mode="const")
    expected = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.abs(pairs.pictures(rows).astype(int) - expected.astype(int)).max() <= 1


def test_held_out_pairs_are_no_training_pairs(pairs_folder: Path) -> None:
    train, held = (Pairs(pairs_folder, num_ws=8, split=split) for split in ("train", "held"))
    assert (len(train), len(held)) == (48, 32)
    mine, other = train.latents(range(48)).flatten(1), held.latents(range(32)).flatten(1)
    assert float(torch.cdist(mine, other).min()) > 1e-3


def test_a_sample_depends_on_its_seed_alone(generator: Generator) -> None:
    together, psi = sample_latents(generator, range(7, 12), CONFIG)
    alone, own_psi = sample_latents(generator, [9], CONFIG)
    assert torch.allclose(together[2], alone[0], atol=1e-6)
    assert float(psi[2]) == float(own_psi[0])
    assert ((psi >= 0.6) & (psi <= 1)).all()


def test_shares_of_mixed_and_moved_samples(generator: Generator) -> None:
    plain = sample_latents(generator, range(40), replace(CONFIG, mixed=0, moved=0))[0]
    mixed = sample_latents(generator, range(40), replace(CONFIG, mixed=1, moved=0))[0]
    moved = sample_latents(generator, range(40), replace(CONFIG, mixed=0, moved=1))[0]
    assert (plain == plain[:, :1]).all()
    assert (mixed != mixed[:, :1]).flatten(1).any(dim=1).all()
    assert (mixed[:, 0] == plain[:, 0]).all()
    assert (moved == moved[:, :1]).all()
    assert (moved != plain).flatten(1).any(dim=1).all()


def test_moves_follow_the_directions(generator: Generator) -> None:
    axis = torch.nn.functional.one_hot(torch.tensor([3]), 16).float()
    config = replace(CONFIG, mixed=0, moved=1)
    moved = sample_latents(generator, range(5), config, axis)[0]
    plain = sample_latents(generator, range(5), replace(config, moved=0))[0]
    changed = (moved - plain).abs().amax(dim=(0, 1)) > 1e-6
    assert changed.nonzero().flatten().tolist() == [3]


def test_rendering_goes_on_where_it_stopped(generator: Generator, tmp_path: Path) -> None:
    list(render_shards(generator, tmp_path, 2, CONFIG))
    first = (tmp_path / "00000.img.npy").read_bytes()
    (tmp_path / "00001.img.npy").unlink()
    assert [name for name, _ in render_shards(generator, tmp_path, 3, CONFIG)] == ["00001", "00002"]
    assert (tmp_path / "00000.img.npy").read_bytes() == first


def test_new_shards_are_found(generator: Generator, tmp_path: Path) -> None:
    list(render_shards(generator, tmp_path, 3, CONFIG))
    pairs = Pairs(tmp_path, num_ws=8)
    list(render_shards(generator, tmp_path, 4, CONFIG))
    assert len(pairs) == 16
    assert pairs.refresh() == 32


def test_one_w_stands_for_all_layers(tmp_path: Path) -> None:
    w = np.random.RandomState(0).randn(3, 4).astype(np.float32)
    for number in range(3):
        np.save(tmp_path / f"{number:05d}.w.npy", w)
        np.save(tmp_path / f"{number:05d}.img.npy", np.zeros((3, 8, 8, 3), np.uint8))
    latents = Pairs(tmp_path, num_ws=5).latents([1])
    assert latents.shape == (1, 5, 4)
    assert (latents[0] == torch.from_numpy(w[1])).all()


def test_landmarks_are_added_and_missing_ones_are_nan(pairs_folder: Path) -> None:
    assert dict(add_landmarks(pairs_folder)) == {f"{number:05d}": 0 for number in range(5)}
    assert not list(add_landmarks(pairs_folder))
    assert np.isnan(Pairs(pairs_folder, num_ws=8).landmarks([0, 5])).all()


def test_an_empty_folder_names_the_script(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"holds too few pairs.*render_pairs"):
        Pairs(tmp_path, num_ws=8)
