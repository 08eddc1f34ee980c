"""Latents and tables of labels from the user's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from array_files import write

from latentedit.directions.io.tables import read_labelled, read_labels, read_latents
from latentedit.errors import DirectionError, LatentError

WS = np.random.default_rng(0).standard_normal((5, 6, 12)).astype(np.float32)


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
        ("row,age\n7,1\n", r"Line 2 of .*labels\.csv' names the latent 7, which does not exist.*0 to 4"),
        ("row,age\n0,1\n1.5,1\n", "Line 3 .* names the latent 1.5"),
        ("row,age\nx,1\n", "Line 2 .* names the latent nan"),
        ("row,age\n1,1\n2,1\n1,3\n", "Lines 2 and 4 .* both label latent 1"),
        ("name\na\nb\nc\nd\ne\n", "has no column of numbers"),
        ("", "is empty"),
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
    with pytest.raises(DirectionError, match="cannot be read: it is no text in UTF-8"):
        read_labels(tmp_path / "binary.csv", 5)


def test_two_columns_of_one_attribute_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", {"w": WS})
    (tmp_path / "a.csv").write_text("gender,male\n" + "1,0\n" * 5)
    with pytest.raises(DirectionError, match=r"labels 'gender' in two columns"):
        read_labelled(tmp_path / "a.npz", tmp_path / "a.csv", units={}, fingerprint=None)


def test_labelled_latents_know_units_and_aliases(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", {"w": WS})
    (tmp_path / "a.csv").write_text("gender,dimple\n" + "1,0\n0,1\n" * 2 + "1,1\n")
    found = read_labelled(tmp_path / "a.npz", tmp_path / "a.csv", units={"gender": "probability"}, fingerprint="f")
    assert list(found.scores) == ["gender", "dimple"]
    assert found.units == {"gender": "probability"}
    np.testing.assert_allclose(found.w, WS.mean(1), atol=1e-6)
