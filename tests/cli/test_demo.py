"""``latentedit demo`` on the tiny model; what the real one shows is looked at by people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXPECTED = {
    "age.gif", "aged.png", "aligned.png", "inversion.safetensors", "inverted.png", "metrics.json", "mix.png",
    "morph.gif", "photo_aged.png", "photo_smile.png", "smile.png", "strengths.png",
}  # fmt: skip


@pytest.fixture
def photos(root: Path, tmp_path: Path) -> list[Path]:
    paths = []
    for name in ("portrait_a", "portrait_b"):
        with Image.open(root / f"latentedit/assets/photos/{name}.jpg") as portrait:
            image = portrait.convert("RGB")
        image = image.resize((455, round(455 * image.height / image.width)), Image.Resampling.LANCZOS)
        paths.append(tmp_path / f"{name}.png")
        image.save(paths[-1])
    return paths


def test_the_folder_holds_everything_and_each_file_is_announced(
    call: Callable, photos: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    result = call("demo", "--photo", photos[0], "--other", photos[1], "--steps", "2", "--frames", "6", "-o", folder)
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} == EXPECTED
    announced = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert sorted(announced) == sorted(str(folder / name) for name in EXPECTED)
    before, after = (np.asarray(Image.open(path)) for path in (photos[0], folder / "photo_aged.png"))
    assert before.shape == after.shape
    assert (before[-40:] == after[-40:]).all()
    for name in ("morph.gif", "age.gif"):
        with Image.open(folder / name) as film:
            assert (film.size, film.info["loop"]) == ((256, 256), 0)
            assert 2 <= film.n_frames <= 6
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"inversion", "aged", "smile"}


def test_a_folder_that_cannot_be_written(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = call("demo", "-o", tmp_path / "file" / "demo")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Cannot write")
    assert result.stderr.count("\n") == 1
