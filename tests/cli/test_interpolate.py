"""``latentedit interpolate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from latentedit.cli import main
from latentedit.models import Model, save_model
from latentedit.networks import Generator, GeneratorConfig


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
        (["--seeds", "1,2", "-o", "out.avi"], 2, "No kind of film ends in '.avi' ('out.avi')."),
        (["--seeds", "1,2", "--frames", "1"], 2, "1 is not in the range x>=2"),
        (["--seeds", "1,2", "--fps", "0.001"], 2, "0.001 is not in the range 0.01<=x<=240"),
        (["--seeds", "1,2", "--trunc", "nan"], 2, "'nan' is no finite number"),
        (["--seeds", "0-999999999999"], 2, "Seed 999999999999 is too large. Seeds run from 0 to 4294967295."),
        (["--seeds", "0-4294967295"], 2, "Seeds '0-4294967295' are 4294967296; at most 1000000 at once."),
        (["--seeds", "1,2", "--class", "3"], 1, "There is no class 3: the generator of 'tiny' has no classes."),
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


@pytest.mark.parametrize("suffix", [".NPZ", ".npy", ".pt"])
def test_one_file_of_several_latents_is_enough(call: Callable, tmp_path: Path, suffix: str) -> None:
    ws = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
    path = tmp_path / f"latents{suffix}"
    with path.open("wb") as stream:
        if suffix == ".NPZ":
            np.savez(stream, w=ws.numpy())
        elif suffix == ".npy":
            np.save(stream, ws.numpy())
        else:
            torch.save(ws, stream)
    out = tmp_path / "out.gif"
    result = call("interpolate", path, "--frames", "6", "--size", "32", "-o", out)
    assert result.exit_code == 0, result.output
    assert Image.open(out).n_frames == 6
    alone = tmp_path / "alone.npz"
    np.savez(alone, w=ws[:1].numpy())
    result = call("interpolate", alone, "-o", out)
    assert result.exit_code == 1
    assert "A film needs at least two faces" in result.stderr


def test_classes(tmp_path: Path) -> None:
    config = GeneratorConfig(resolution=8, z_dim=8, c_dim=3, w_dim=8, mapping_layers=1, channel_base=32, channel_max=4)
    save_model(tmp_path / "model", Model(name="cond", generator=Generator(config).eval()))
    options = ["interpolate", "--seeds", "1,2", "--frames", "3", "--size", "16", "--model", str(tmp_path / "model")]
    bytes_of = []
    for label in ("0", "2"):
        out = tmp_path / f"{label}.gif"
        result = CliRunner().invoke(main, [*options, "--class", label, "-o", str(out)])
        assert result.exit_code == 0, result.output
        bytes_of.append(out.read_bytes())
    assert bytes_of[0] != bytes_of[1]
    result = CliRunner().invoke(main, [*options, "-o", str(tmp_path / "none.gif")])
    assert result.exit_code == 1
    assert "is conditional. Choose --class 0 to 2." in result.stderr
