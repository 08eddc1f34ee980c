"""``latentedit-direction discover``: on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latentedit.cli import direction_main
from latentedit.directions import Direction
from latentedit.models import load_model

QUICK = ("--count", 2, "--faces", 1, "--shown", 2, "--probes", 4)


def run(folder: Path, out: Path, *arguments: object) -> Result:
    given = ["discover", "--model", folder, "-o", out, *QUICK, *arguments]
    return CliRunner().invoke(direction_main, [str(argument) for argument in given])


@pytest.fixture(scope="module")
def found(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("found")
    return out, run(tiny_folder, out)


def test_it_says_what_each_does_and_draws_a_sheet(tiny_folder: Path, found: tuple[Path, Result]) -> None:
    out, result = found
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:6]] == [
        ["1", "sefa"], ["2", "sefa"], ["3", "pca"], ["4", "pca"], ["5", "channels"], ["6", "channels"],
    ]  # fmt: skip
    assert all("identity" in line for line in lines[:6])
    listed = json.loads((out / "discovered.json").read_text())
    assert listed["settings"]["fingerprint"] == load_model(tiny_folder).fingerprint
    for entry in listed["directions"]:
        direction = Direction.load(out / entry["file"], load_model(tiny_folder))
        assert direction.name == entry["name"]
        assert direction.settings["discovered"]
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.height > 6 * 1 * 16
        assert sheet.width > 7 * 16


def test_one_that_is_saved_becomes_the_models(tiny_folder: Path, found: tuple[Path, Result]) -> None:
    out, _ = found
    before = (out / "sheet.png").stat().st_mtime_ns
    result = run(tiny_folder, out, "--save", 3, "glow", "--save", 5, "spark")
    assert result.exit_code == 0, result.output
    assert "looking for" not in result.stderr, "what lies there is not looked for again"
    assert (out / "sheet.png").stat().st_mtime_ns == before
    model = load_model(tiny_folder)
    glow = Direction.load("glow", model)
    assert glow.settings["discovered"] == "components"
    assert f"wrote {model.user_directions / 'glow.safetensors'} (" in result.stdout
    spark = Direction.load("spark", model)
    assert spark.layers is not None
    assert len(spark.layers) == 1
    if glow.calibration is not None:
        assert glow.unit in ("years", "degrees", "probability", "brightness")


def test_other_settings_are_looked_for_anew(tiny_folder: Path, found: tuple[Path, Result], tmp_path: Path) -> None:
    result = run(tiny_folder, tmp_path, "--method", "pca", "--layers", "coarse", "--seed", 5)
    assert result.exit_code == 0, result.output
    assert "pca: looking for 2 directions" in result.stderr
    assert "sefa" not in result.output
    (entry, _) = json.loads((tmp_path / "discovered.json").read_text())["directions"]
    assert Direction.load(tmp_path / entry["file"]).layers == (0, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--save", 9, "glow"), 2, "--save 9: there are numbers from 1 to 6."),
        (("--save", 1, "no name"), 1, "'no name' cannot be the name of a direction."),
        (("--method", "magic"), 2, "'magic' is not one of"),
    ],
)
def test_failures_are_told(
    tiny_folder: Path, found: tuple[Path, Result], arguments: tuple[object, ...], status: int, message: str
) -> None:
    result = run(tiny_folder, found[0], *arguments)
    assert result.exit_code == status
    assert message in result.stderr
