"""``latentedit mix``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentedit.editing import mix
from latentedit.inversion import Inversion
from latentedit.models import load_model


@pytest.fixture
def faces(make_face: Callable, tmp_path: Path) -> tuple[Path, Path]:
    return make_face(tmp_path / "a.safetensors"), make_face(tmp_path / "b.safetensors", seed=1, x=60)


def test_mixed_face_goes_into_the_photo_of_a(call: Callable, faces: tuple, tmp_path: Path, tiny_folder: Path) -> None:
    out = tmp_path / "out.png"
    result = call("mix", *faces, "--layers", "coarse", "--strength", "0.5", "-o", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    a, b = (Inversion.load(path) for path in faces)
    expected = mix(a, b, layers="coarse", strength=0.5, model=load_model(tiny_folder))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(expected.paste_back()))
    result = call("mix", *faces, "--layers", "0", "--crop", "-o", out)
    assert result.exit_code == 0
    assert Image.open(out).size == (16, 16)


def test_sheet_has_a_row_for_each_group_and_ends_with_both_faces(call: Callable, faces: tuple, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert call("mix", *faces, "--sheet", "--cell", "32", "-o", out).exit_code == 0
    sheet = np.asarray(Image.open(out).convert("RGB"))
    height = sheet.shape[0]
    cells = 3  # coarse, middle, all: a generator of 16 px has no fine layers
    assert 3 * 36 < height < 4 * 36
    right = sheet[height - cells * 36 : height - 4, -36:-4]
    for row in range(cells):
        np.testing.assert_array_equal(right[row * 36 : row * 36 + 32], right[:32])
    last = sheet[height - 36 : height - 4]
    np.testing.assert_array_equal(last[:, -36:-4], last[:, -72:-40])  # all layers at 100 % are B


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--layers", "fine"], 2, "layers='fine' is empty in a generator of 16 px."),
        (["--layers", "some"], 2, "layers='some' cannot be read."),
        (["--strength", "much"], 2, "'much' is not a valid number"),
        (["--strength", "9"], 2, "9.0 is not in the range 0<=x<=2"),
        (["--strength", "nan"], 2, "'nan' is no finite number"),
        (["-o", "out.txt"], 2, "'out.txt' does not say what kind of picture"),
    ],
)
def test_failures(call: Callable, faces: tuple, tmp_path: Path, monkeypatch, arguments, status, text) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("mix", *faces, *arguments)
    assert result.exit_code == status
    assert text in result.stderr
    assert not (tmp_path / "mixed.png").exists()
