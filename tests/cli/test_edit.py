"""``latentedit edit``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentedit.cli._attributes import rewritten
from latentedit.cli.edit import command
from latentedit.inversion import Inversion

TAKES_VALUE = {"--face": True, "-o": True, "--crop": False}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["a.jpg", "--age", "+15"], ["a.jpg", "--set", "age=+15"]),
        (["--age", "-10", "a.jpg"], ["--set", "age=-10", "a.jpg"]),
        (["a.jpg", "--smile=0.9", "-o", "o.png"], ["a.jpg", "--set", "smile=0.9", "-o", "o.png"]),
        (["--face", "2", "--crop", "--age", "5"], ["--face", "2", "--crop", "--set", "age=5"]),
        (["--face=2", "--", "--age", "5"], ["--face=2", "--", "--age", "5"]),
        (["--heavy-makeup", "1e-1"], ["--set", "heavy-makeup=1e-1"]),
    ],
)
def test_any_attribute_is_an_option(given: list[str], read: list[str]) -> None:
    assert rewritten(given, TAKES_VALUE) == read


def test_an_inversion_is_edited_and_pasted_back(call: Callable, make_face: Callable, tmp_path: Path) -> None:
    face = make_face(tmp_path / "face.safetensors")
    out, metrics = tmp_path / "deep" / "out.png", tmp_path / "metrics.json"
    result = call("edit", face, "--age", "+9", "--smile", "0.7", "-o", out, "--metrics", metrics)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(out)
    assert "identity distance" in result.stdout
    before = np.asarray(Inversion.load(face).photo.open())
    with Image.open(out) as written:
        after = np.asarray(written)
    assert after.shape == before.shape == (120, 160, 3)
    assert (after != before).any()
    assert (after[:, :20] == before[:, :20]).all()
    (measured,) = json.loads(metrics.read_text())["faces"]
    assert set(measured["asked"]) == {"age", "smile"}
    assert measured["asked"]["age"]["amount"] == 9
    assert "eyeglasses" in measured["others"]


def test_the_same_twice_gives_the_same_bytes(call: Callable, make_face: Callable, tmp_path: Path) -> None:
    face = make_face(tmp_path / "face.safetensors")
    for name in ("a", "b"):
        assert call("edit", face, "--smile", "0.9", "-o", tmp_path / f"{name}.png").exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_distances_layers_and_crops(call: Callable, make_face: Callable, tmp_path: Path, tiny_folder: Path) -> None:
    face = make_face(tmp_path / "face.safetensors")
    out = tmp_path / "crop.png"
    result = call("edit", face, "--distance", "age=2", "--layers", "coarse", "--crop", "-o", out)
    assert result.exit_code == 0, result.output
    from latentedit.editing import edit
    from latentedit.models import load_model

    expected = edit(Inversion.load(face), model=load_model(tiny_folder), distance={"age": 2}, layers="coarse").image
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(expected))


def test_latents_without_a_photo_give_pictures(call: Callable, tmp_path: Path) -> None:
    np.savez(tmp_path / "projected_w.npz", w=torch.randn(2, 6, 8).numpy())
    result = call("edit", tmp_path / "projected_w.npz", "--smile", "0.5", "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    for number in (1, 2):
        with Image.open(tmp_path / f"out-{number}.png") as image:
            assert image.size == (16, 16)


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--smiel", "0.9"], 2, "Unknown attribute 'smiel'. Did you mean 'smile'? Known for 'tiny': age, smile."),
        (["--smile", "1.7"], 2, "smile=1.7 is no score: smile is a probability between 0 and 1."),
        (["--smile", "-2"], 2, "Give the score to reach, for example --smile 0.8."),
        (["--age", "nan"], 2, "age=nan is no finite number."),
        (["--distance", "smile=1e30"], 2, "1e+30 along 'smile' lies beyond every face. Stay within +-100."),
        (["--distance", "smile=inf"], 2, "smile=inf is no finite number."),
        (["--age", "5", "--layers", "0-99"], 2, "layers='0-99' lies outside this generator's 6 layers."),
        (["--age", "5", "-o", "out.doc"], 2, "'out.doc' does not say what kind of picture to write."),
        (["--age", "5", "-o", "out.jpg", "--quality", "lossless"], 2, "A .jpg file cannot be lossless."),
        (["--age", "5", "-o", "out.png", "--metrics", "out.png"], 2, "--metrics out.png is -o too; give it"),
        (["--age", "5", "-o", "/proc/nowhere/out.png"], 1, "Error: Cannot write"),
        (["--age", "5", "-o", "/dev/null"], 1, "Error: Cannot write '/dev/null': it is a pipe or a device."),
    ],
)  # fmt: skip
def test_failures_are_one_line_and_leave_nothing(
    call: Callable, make_face: Callable, tmp_path: Path, monkeypatch, arguments: list[str], status: int, text: str
) -> None:
    face = make_face(tmp_path / "face.safetensors")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    result = call("edit", face, *arguments)
    assert result.exit_code == status
    assert text in result.stderr
    assert result.stderr.count("\n") == 1 or status == 2
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Nothing to change: give an attribute"),
        (["--age"], "--age takes a number: for example --age +10."),
        (["--smile", "lots"], "--smile takes a number, not 'lots': for example --smile 0.8."),
        (["--yaw", "left"], "--yaw takes a number, not 'left': for example --yaw -15."),
        (["--age", "5", "--age", "10"], "age is given twice: 5 and 10."),
        (["--heavy-makeup", "0.2", "--makeup", "0.9"], "makeup is given twice: 0.2 and 0.9."),
        (["--distance", "age=1", "--distance", "age=2"], "age is given twice: 1 and 2."),
        (["--age", "5", "--distance", "age=2"], "'age' is asked for twice."),
        (["--outptu", "a.png"], "No such option: --outptu. Did you mean --output?"),
        (["--seed", "99999999999", "--age", "5"], "99999999999 is not in the range 0<=x<=4294967295"),
        (["--distance", "age"], "'age' is not of the form NAME=NUMBER"),
        (["--age", "3", "--face", "0"], "neither a number from 1 on"),
    ],
)
def test_bad_usage_is_status_2(call: Callable, make_face: Callable, tmp_path: Path, arguments: list, text: str) -> None:
    result = call("edit", make_face(tmp_path / "face.safetensors"), *arguments)
    assert result.exit_code == 2
    assert text in result.stderr


def test_nan_in_ws_is_one_line(call: Callable, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.full((1, 6, 8), np.nan, np.float32))
    result = call("edit", tmp_path / "w.npz", "--age", "5", "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ws holds NaN or infinite values in row 0.")
    assert not (tmp_path / "out.png").exists()


def test_no_photo_at_all(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    result = call("edit", tmp_path / "text.jpg", "--age", "5", "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert "is not an image that can be read" in result.stderr
    assert result.stderr.count("\n") == 1


def test_interruption_leaves_nothing(call: Callable, make_face: Callable, tmp_path: Path, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    face = make_face(tmp_path / "face.safetensors")
    monkeypatch.setattr("latentedit.editing.subject.Subject.render", interrupted)
    result = call("edit", face, "--age", "5", "-o", tmp_path / "out.png")
    assert (result.exit_code, result.stderr) == (130, "Aborted.\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.safetensors"]


def test_both_faces_of_a_real_photo(call: Callable, root: Path, tmp_path: Path) -> None:
    """From the photo on: detection, inversion of both faces in one batch, edit, both pasted."""
    with Image.open(root / "latentedit/assets/photos/two_people.jpg") as photo:
        small = photo.convert("RGB").resize((1000, 714), Image.Resampling.LANCZOS)
    small.save(tmp_path / "two.png")
    out = tmp_path / "out.png"
    result = call("edit", tmp_path / "two.png", "--face", "all", "--distance", "smile=3", "--steps", "2", "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("identity distance") >= 2
    before, after = np.asarray(small), np.asarray(Image.open(out))
    assert after.shape == before.shape
    changed = (before != after).any(axis=(0, 2))
    halves = changed[:500].mean(), changed[500:].mean()
    assert min(halves) > 0.02
    assert changed.mean() < 0.8


def test_help_names_the_way_to_attributes() -> None:
    assert "--age +15" in (command.help or "")
