"""``latentedit align`` and ``latentedit mask``: files written, errors in one line, exit statuses."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latentedit.cli import main
from latentedit.faces import FFHQ

PHOTOS = Path(str(files("latentedit.assets"))) / "photos"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_align_writes_crop_and_facts(tmp_path: Path) -> None:
    result = run("align", "--ffhq", "--size", 64, PHOTOS / "astronaut.png", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.split() == [str(tmp_path / "astronaut.png")]
    assert Image.open(tmp_path / "astronaut.png").size == (64, 64)
    facts = json.loads((tmp_path / "astronaut.json").read_text())
    assert facts["template"] == {"scale": 1.0, "shift": 0.0}
    np.testing.assert_allclose(facts["quad"], FFHQ.quad(np.array(facts["landmarks"])), atol=0.05)


def test_align_all_faces_and_equal_names(tmp_path: Path) -> None:
    other = tmp_path / "portrait_a.png"
    Image.open(PHOTOS / "portrait_a.jpg").resize((455, 568)).save(other)
    out = tmp_path / "out"
    result = run("align", "--ffhq", "--size", 32, PHOTOS / "portrait_a.jpg", other, "--face", "all", "-o", out)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.glob("*.png")) == ["portrait_a-1.png", "portrait_a-2-1.png"]


def test_mask_writes_photo_and_region(tmp_path: Path) -> None:
    out, region = tmp_path / "out.png", tmp_path / "region.png"
    options = ("--type", "cloth", "--color", "#204080", "--seed", 3)
    result = run("mask", PHOTOS / "astronaut.png", *options, "-o", out, "--region", region)
    assert result.exit_code == 0, result.output
    before = np.asarray(Image.open(PHOTOS / "astronaut.png").convert("RGB")).astype(int)
    after, covered = np.asarray(Image.open(out)).astype(int), np.asarray(Image.open(region))
    assert after.shape == before.shape
    mean = after[covered > 250].mean(0)
    assert mean[2] > mean[1] > mean[0]
    assert np.abs(after - before)[:80].max() == 0
    again = tmp_path / "again.png"
    run("mask", PHOTOS / "astronaut.png", *options, "-o", again)
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("command", [("mask",), ("align", "--ffhq")])
def test_bad_photos_are_one_line_and_leave_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    dot, wall, cut = tmp_path / "dot.png", tmp_path / "wall.png", tmp_path / "cut.jpg"
    Image.new("RGB", (1, 1)).save(dot)
    Image.new("RGB", (90, 90), "teal").save(wall)
    cut.write_bytes((PHOTOS / "portrait_b.jpg").read_bytes()[:60_000])
    expected = {text: "is not an image that can be read", dot: "shows no face", wall: "shows no face", cut: "cut short"}
    for photo, message in expected.items():
        target = tmp_path / "result" / "out.png"
        result = run(*command, photo, "-o", target if command[0] == "mask" else target.parent)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert message in result.stderr
        assert photo.name in result.stderr
        assert not target.parent.exists()


def test_bad_usage(tmp_path: Path) -> None:
    photo = PHOTOS / "astronaut.png"
    assert run("mask", photo, "--type", "scarf").exit_code == 2
    assert "'nocolor' is no colour" in run("mask", photo, "--color", "nocolor").stderr
    assert run("mask", photo, "--face", "0").exit_code == 2
    assert run("align", "--ffhq", "--model", "x", photo).exit_code == 2
    result = run("mask", photo, "-o", tmp_path / "out.xyz")
    assert result.exit_code == 2
    assert "does not say what kind of picture" in result.stderr
    result = run("mask", photo, "-o", tmp_path / "out.png", "--region", tmp_path / "OUT.png")
    assert result.exit_code == 2
    assert "is -o too; give it another name" in result.stderr
    result = run("mask", photo, "--face", 2, "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert "shows 1 face, so there is no face 2. Choose 1 to 1, or all." in result.stderr
    assert not list(tmp_path.iterdir())
