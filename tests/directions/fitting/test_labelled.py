"""Sampled and labelled latents: the same ones whatever the batch, kept when interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentedit.directions import LabelledLatents, SampleConfig, sample_labelled
from latentedit.directions.fitting.labelled import label_latents
from latentedit.directions.fitting.probe import Probe
from latentedit.errors import DirectionError, OutputError
from latentedit.latents import seed_z


def config(**changes: object) -> SampleConfig:
    return SampleConfig(**{"count": 50, "batch": 16, "shard": 20, **changes})  # type: ignore[arg-type]


def test_sample_i_is_that_of_seed_i(generator, perception) -> None:
    labelled = sample_labelled(generator, perception, config(psi=0.7))
    ws = generator.mapping(seed_z(range(50), generator.z_dim), truncation_psi=0.7)
    np.testing.assert_allclose(labelled.w, ws[:, 0].numpy(), atol=1e-6)
    np.testing.assert_allclose(labelled.scores["age"], Probe(generator, perception).scores(ws)["age"], atol=1e-4)
    assert labelled.units["age"] == "years"
    other = sample_labelled(generator, perception, config(seed=2, psi=0.7))
    first = generator.mapping(seed_z([2_000_000], generator.z_dim), truncation_psi=0.7)
    np.testing.assert_allclose(other.w[:1], first[:, 0].numpy(), atol=1e-6)


def test_batches_and_shards_do_not_matter(generator, perception) -> None:
    one = sample_labelled(generator, perception, config(batch=50, shard=50))
    other = sample_labelled(generator, perception, config(batch=7, shard=13))
    np.testing.assert_allclose(one.w, other.w, atol=1e-6)
    np.testing.assert_allclose(one.scores["smile"], other.scores["smile"], atol=1e-6)


def test_an_interrupted_run_goes_on_where_it_stopped(generator, perception, tmp_path: Path) -> None:
    seen = 0

    def stop_after_45(images: int) -> None:
        nonlocal seen
        seen += images
        if seen > 45:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_labelled(generator, perception, config(), folder=tmp_path, progress=stop_after_45)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000.npz", "0000020.npz", "labelled.json"]
    before = perception.calls
    resumed = sample_labelled(generator, perception, config(), folder=tmp_path)
    assert perception.calls - before == 10
    np.testing.assert_array_equal(resumed.w, sample_labelled(generator, perception, config()).w)


def test_more_samples_later_render_only_the_new_ones(generator, perception, tmp_path: Path) -> None:
    sample_labelled(generator, perception, config(count=30), folder=tmp_path)
    before = perception.calls
    more = sample_labelled(generator, perception, config(count=50), folder=tmp_path)
    assert perception.calls - before == 20
    np.testing.assert_allclose(more.w, sample_labelled(generator, perception, config()).w, atol=1e-6)
    fewer = sample_labelled(generator, perception, config(count=25), folder=tmp_path)
    np.testing.assert_array_equal(fewer.w, more.w[:25])
    assert len(fewer.scores["age"]) == 25


def test_a_damaged_shard_is_made_again(generator, perception, tmp_path: Path) -> None:
    whole = sample_labelled(generator, perception, config(), folder=tmp_path)
    (tmp_path / "0000020.npz").write_bytes(b"PK\x03\x04 nonsense")
    np.testing.assert_array_equal(sample_labelled(generator, perception, config(), folder=tmp_path).w, whole.w)


def test_a_folder_of_other_samples_is_refused(generator, perception, tmp_path: Path) -> None:
    sample_labelled(generator, perception, config(), folder=tmp_path)
    with pytest.raises(DirectionError, match=r"differ in psi\. Choose another folder"):
        sample_labelled(generator, perception, config(psi=0.5), folder=tmp_path)
    with pytest.raises(DirectionError, match="differ in seed, shard"):
        sample_labelled(generator, perception, config(seed=1, shard=10), folder=tmp_path)


def test_an_unwritable_folder_is_refused(generator, perception, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write"):
        sample_labelled(generator, perception, config(), folder=tmp_path / "file")


def test_given_latents_are_labelled(generator, perception, labelled_set) -> None:
    ws = Probe(generator, perception).spread_ws(labelled_set.w[:10])
    again = label_latents(generator, perception, ws, batch=4)
    np.testing.assert_allclose(again.scores["yaw"], labelled_set.scores["yaw"][:10], atol=1e-4)
    assert again.fingerprint == labelled_set.fingerprint


def test_sets_are_joined_with_unknown_labels_where_one_lacks_them() -> None:
    a = LabelledLatents(np.zeros((2, 3), np.float32), {"age": np.array([1.0, 2])}, {"age": "years"}, "f")
    b = LabelledLatents(np.ones((1, 3), np.float32), {"hat": np.array([1.0])})
    both = a + b
    assert len(both) == 3
    np.testing.assert_array_equal(both.scores["age"], [1, 2, np.nan])
    np.testing.assert_array_equal(both.scores["hat"], [np.nan, np.nan, 1])
    assert both.fingerprint == "f"
    with pytest.raises(DirectionError, match="w_dim 3 and 4 cannot be joined"):
        a + LabelledLatents(np.ones((1, 4), np.float32), {})


def test_the_file_brings_everything_back(tmp_path: Path) -> None:
    made = LabelledLatents(np.ones((2, 3), np.float32), {"age": np.array([1.0, np.nan])}, {"age": "years"}, "f")
    made.save(tmp_path / "a.npz")
    found = LabelledLatents.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.w, made.w)
    np.testing.assert_array_equal(found.scores["age"], made.scores["age"])
    assert (found.units, found.fingerprint) == ({"age": "years"}, "f")
    with pytest.raises(DirectionError, match="holds no labelled latents"):
        LabelledLatents.load(tmp_path / "none.npz")


@pytest.mark.parametrize("changes", [{"count": 0}, {"count": 1_000_001}, {"seed": 4294}, {"seed": -1}])
def test_counts_and_seeds_out_of_range_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(DirectionError, match="out of range"):
        config(**changes)
