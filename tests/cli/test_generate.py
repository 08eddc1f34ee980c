"""``latentedit generate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from latentedit.cli import main
from latentedit.images import to_uint8
from latentedit.models import Model, load_model, save_model
from latentedit.networks import Generator, GeneratorConfig


def test_names_and_pictures_are_those_of_stylegan2_ada(call: Callable, tmp_path: Path, tiny_folder: Path) -> None:
    result = call("generate", "--seeds", "3,85", "--trunc", "0.7", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed0003.png", "seed0085.png"]
    generator = load_model(tiny_folder).generator
    z = torch.from_numpy(np.random.RandomState(85).randn(1, generator.z_dim)).float()
    expected = to_uint8(generator(z, truncation_psi=0.7))[0].astype(int)
    shown = np.asarray(Image.open(tmp_path / "seed0085.png")).astype(int)
    assert np.abs(shown - expected).max() <= 1  # rendered in another batch


def test_grid_and_latents(call: Callable, tmp_path: Path) -> None:
    result = call("generate", "--seeds", "0-5", "--grid", "3x2", "--save-w", "-o", tmp_path / "one")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "one" / "grid.png") as grid:
        assert grid.size == (3 * 18 + 2, 2 * 18 + 2)
    projected = tmp_path / "one" / "seed0004.npz"
    assert np.load(projected)["w"].shape == (1, 6, 8)
    assert call("generate", "--projected-w", projected, "-o", tmp_path / "two").exit_code == 0
    again, first = (np.asarray(Image.open(path)).astype(int) for path in (
        tmp_path / "two" / "proj00.png", tmp_path / "one" / "seed0004.png"))  # fmt: skip
    assert np.abs(again - first).max() <= 1
    assert call("generate", "--seeds", "0-4", "--grid", "-o", tmp_path / "three").exit_code == 0
    with Image.open(tmp_path / "three" / "grid.png") as grid:
        assert grid.size == (3 * 18 + 2, 2 * 18 + 2)


def test_random_noise_follows_the_seed_alone(call: Callable, tmp_path: Path, tiny_folder: Path) -> None:
    generator = load_model(tiny_folder).generator
    assert float(generator.synthesis.b16.conv0.noise_strength) == 0  # so that only the path of the noise is tested here
    for name, seeds in (("a", "0-3"), ("b", "3")):
        result = call("generate", "--seeds", seeds, "--noise-mode", "random", "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
    one, two = (np.asarray(Image.open(tmp_path / name / "seed0003.png")).astype(int) for name in "ab")
    assert np.abs(one - two).max() <= 1


def test_classes_of_conditional_generators(tmp_path: Path) -> None:
    config = GeneratorConfig(resolution=8, z_dim=8, c_dim=3, w_dim=8, mapping_layers=1, channel_base=32, channel_max=4)
    save_model(tmp_path / "model", Model(name="cond", generator=Generator(config).eval()))

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            main, ["generate", "--seeds", "1", "--model", str(tmp_path / "model"), "-o", str(tmp_path), *arguments]
        )
        return result.exit_code, result.stderr.splitlines()[-1] if result.stderr else ""

    assert run("--class", "2") == (0, "")
    assert run() == (2, "Error: The generator of 'cond' is conditional. Choose --class 0 to 2.")
    assert run("--class", "3") == (2, "Error: There is no class 3: the generator of 'cond' has classes 0 to 2.")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--grid", "5y"], "'5y' is no grid"),
        (["--seeds", "a"], "Seeds 'a' cannot be read"),
        (["--seeds", "1", "--projected-w", __file__], "not both"),
        (["--trunc", "nan"], "'nan' is no finite number"),
        (["--trunc", "1e9"], "1000000000.0 is not in the range -2<=x<=2"),
        (["--seeds", "0-999999999999"], "Seed 999999999999 is too large."),
        (["--seeds", "0-4294967295"], "are 4294967296; at most 1000000 at once."),
    ],
)
def test_bad_usage(call: Callable, tmp_path: Path, arguments: list[str], text: str) -> None:
    result = call("generate", *arguments, "-o", tmp_path)
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_seed_that_is_written_twice_is_made_once(call: Callable, tmp_path: Path) -> None:
    result = call("generate", "--seeds", "3,1-4,3", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert [Path(line).stem for line in result.stdout.splitlines()] == ["seed0003", "seed0001", "seed0002", "seed0004"]
