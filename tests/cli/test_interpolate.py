"""``latentedit interpolate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


def test_faces_and_seeds_make_a_looping_gif(call: Callable, make_face: Callable, tmp_path: Path) -> None:
    face, out = make_face(tmp_path / "a.safetensors"), tmp_path / "out.gif"
    arguments = ("--seeds", "3,5", "--frames", "12", "--fps", "10", "--size", "48", "-o", out)
    result = call("interpolate", face, *arguments)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    with Image.open(out) as film:
        assert (film.size, film.n_frames, film.info["loop"]) == ((48, 48), 12, 0)
        assert film.info["duration"] == 100
    first = out.read_bytes()
    assert call("interpolate", face, *arguments).exit_code == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize("name", ["out.mp4", "out.webp", "frames"])
def test_other_films(call: Callable, tmp_path: Path, name: str) -> None:
    arguments = ("--seeds", "1,2", "--frames", "4", "--once", "--space", "z", "--size", "32", "-o", tmp_path / name)
    result = call("interpolate", *arguments)
    assert result.exit_code == 0, result.output
    written = tmp_path / name
    assert len(list(written.iterdir())) == 4 if written.is_dir() else written.stat().st_size > 200


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--seeds", "1"], 2, "A film needs at least two faces"),
        (["--seeds", "1-x"], 2, "Seeds '1-x' cannot be read"),
        (["--seeds", "1,2", "-o", "out.avi"], 1, "Error: No kind of film ends in '.avi' ('out.avi')."),
        (["--seeds", "1,2", "--frames", "1"], 2, "1 is not in the range x>=2"),
        (["--seeds", "1,2", "--fps", "0"], 2, "0.0 is not in the range x>0"),
    ],
)
def test_failures(call: Callable, tmp_path: Path, monkeypatch, arguments: list[str], status: int, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("interpolate", *arguments)
    assert result.exit_code == status
    assert text in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_photos_have_no_z(call: Callable, make_face: Callable, tmp_path: Path) -> None:
    result = call("interpolate", make_face(tmp_path / "a.safetensors"), "--seeds", "1", "--space", "z")
    assert result.exit_code == 2
    assert "photos have no z" in result.stderr
