"""``latentedit-direction``: end to end on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from latentedit.cli import direction_main
from latentedit.directions import Direction
from latentedit.models import Model, load_model, save_model
from latentedit.networks import Generator, GeneratorConfig
from latentedit.networks.perception import PerceptionConfig, PerceptionNetwork


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: 16 px, random, with a perception network that knows five attributes beside age and pose."""
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128))
    names = ("smile", "makeup", "eyeglasses", "male", "mask")
    perception = PerceptionNetwork(
        PerceptionConfig(size=16, widths=(8, 16), blocks=(1, 1), hidden=16, identity_dim=8, attributes=names)
    )
    with torch.no_grad():  # an untrained network hardly tells two pictures apart
        for head in (perception.attribute_head, perception.age_head, perception.pose_head):
            head.weight.mul_(8)
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_model(path, Model("tiny", generator.eval(), perception=perception.eval()))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(direction_main, [str(argument) for argument in arguments])


def fit(folder: Path, *arguments: object) -> Result:
    return run("fit", "--model", folder, "--samples", 300, "--probes", 6, *arguments)


@pytest.fixture(scope="module")
def fitted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("fitted")
    kept = tmp_path_factory.mktemp("labelled")
    result = fit(folder, "--attr", "smile", "--attr", "gender,yaw", "-o", target, "--labelled", kept)
    assert result.exit_code == 0, result.output
    assert "smile: held-out accuracy" in result.output
    assert "% with 95 % confidence, 18 held out)" in result.output, "three hundred samples, a tenth at each end"
    assert (kept / "0000000.npz").is_file()
    return target


def test_fit_writes_calibrated_directions_of_the_model(folder: Path, fitted: Path) -> None:
    assert sorted(path.name for path in fitted.iterdir()) == [
        "gender.safetensors", "smile.safetensors", "yaw.safetensors",
    ]  # fmt: skip
    model = load_model(folder)
    for name, unit in (("smile", "probability"), ("gender", "probability"), ("yaw", "degrees")):
        direction = Direction.load(fitted / f"{name}.safetensors", model)
        assert direction.unit == unit
        assert direction.accuracy is not None
        assert direction.accuracy > 0.8
        assert direction.calibration is not None
        assert direction.fingerprint == model.fingerprint
        assert set(direction.cosines) >= {"smile", "gender", "yaw"} - {name}


def test_fit_moves_the_score_that_it_promises(folder: Path, fitted: Path) -> None:
    model = load_model(folder)
    yaw = Direction.load(fitted / "yaw.safetensors", model)
    ws = model.generator.mapping(torch.randn(64, 16, generator=torch.Generator().manual_seed(5)))
    assert yaw.calibration is not None
    amount = (yaw.calibration.scores[-1] - yaw.calibration.scores[0]) / 8

    def look(latents: torch.Tensor) -> torch.Tensor:
        return model.perception.perceive(model.generator.synthesis(latents)).yaw

    # A random network follows no line; that units hold is shown in tests/directions, here that the files belong.
    inside = yaw.calibration.scores[0] + amount, yaw.calibration.scores[-1] - amount
    start = look(ws)
    chosen = (start > inside[0]) & (start < inside[1])
    ws, start = ws[chosen], start[chosen]
    assert len(ws) > 10
    more = look(ws + yaw.offset(ws, amount, current=start)) - start
    less = look(ws + yaw.offset(ws, -amount, current=start)) - start
    assert 0.3 * amount < float(more.median()) < 3 * amount
    assert 0.3 * amount < -float(less.median()) < 3 * amount


def test_fit_twice_gives_the_same_bytes(folder: Path, fitted: Path, tmp_path: Path) -> None:
    quick = ("--attr", "smile", "--way", "normal", "--layers", "all")
    first = fit(folder, *quick, "-o", tmp_path / "a" / "smile.safetensors")
    second = fit(folder, *quick, "-o", tmp_path / "b" / "smile.safetensors")
    assert first.exit_code == second.exit_code == 0, first.output
    files = [tmp_path / name / "smile.safetensors" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_without_o_the_model_finds_them(folder: Path) -> None:
    result = fit(folder, "--attr", "makeup", "--condition", "none", "--layers", "all", "--way", "normal")
    assert result.exit_code == 0, result.output
    listed = run("list", "--model", folder)
    assert listed.exit_code == 0
    assert "makeup" in listed.output
    assert "yours" in listed.output
    assert Direction.load("makeup", load_model(folder)).settings["conditioned_on"] == []


def test_own_latents_and_labels(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    ws = model.generator.mapping(torch.randn(300, 16, generator=torch.Generator().manual_seed(1)))
    np.savez(tmp_path / "latents.npz", w=ws.numpy())
    truth = ws[:, 0].numpy() @ np.random.RandomState(0).randn(16)
    rows = "".join(f"{value},{'yes' if value > 0 else 'no'}\n" for value in truth - np.median(truth))
    (tmp_path / "labels.csv").write_text("shade,dimple\n" + rows)
    given = ("--latents", tmp_path / "latents.npz", "--labels", tmp_path / "labels.csv", "-o", tmp_path)
    result = run("fit", "--model", folder, "--attr", "dimple,shade", "--probes", 8, *given)
    assert result.exit_code == 0, result.output
    assert (Direction.load(tmp_path / "dimple.safetensors").accuracy or 0) > 0.9
    assert Direction.load(tmp_path / "shade.safetensors").unit == "value"
    unknown = run("fit", "--model", folder, "--attr", "halo", *given)
    assert unknown.exit_code == 1
    assert unknown.stderr == "Error: Unknown attribute 'halo'. Known: shade, dimple.\n"
    plain = ("--condition", "none", "--layers", "all", "--way", "normal", "-o", tmp_path)
    rendered = run("fit", "--model", folder, "--attr", "makeup", "--probes", 6, *given[:2], *plain)
    assert rendered.exit_code == 0, rendered.output
    assert Direction.load(tmp_path / "makeup.safetensors").settings["latents"] == 300
    both = fit(folder, "--attr", "makeup", *given[:2], *plain)
    assert both.exit_code == 0, both.output
    assert Direction.load(tmp_path / "makeup.safetensors").settings["latents"] == 600


def test_unknown_attributes_are_found_out_before_the_work(folder: Path) -> None:
    result = fit(folder, "--attr", "halo")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Unknown attribute 'halo'. Known: age, yaw")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--attr'"),
        (("--attr", "age", "--labels", __file__), "--labels needs --latents"),
        (("--attr", "age,smile", "-o", "x.safetensors"), "one file for 2 directions (age, smile)"),
        (("--attr", "age", "--share", "0.9"), "not in the range"),
        (("--attr", "age", "--samples", "3"), "not in the range"),
    ],
)
def test_bad_usage_is_status_2(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("fit", "--model", folder, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_eval_writes_figures_plot_and_strip(folder: Path, fitted: Path, tmp_path: Path) -> None:
    from PIL import Image

    result = run(
        "eval", fitted / "yaw.safetensors", "--model", folder, "-o", tmp_path, "--samples", 60, "--probes", 8,
        "--faces", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output.startswith("yaw: ")
    figures = json.loads((tmp_path / "yaw.json").read_text())
    assert 0.5 < figures["accuracy_ends"] <= 1
    assert len(figures["curve"]["distance"]) == len(figures["curve"]["median"])
    with Image.open(tmp_path / "yaw-strip.png") as strip:
        assert strip.width > 7 * 16
    with Image.open(tmp_path / "yaw-calibration.png") as plot:
        assert plot.width > 400


def test_show_says_what_is_known(folder: Path, fitted: Path) -> None:
    result = run("show", fitted / "smile.safetensors")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("smile: probability, generator ")
    assert "accuracy" in result.output
    assert "|cos|" in result.output
    described = json.loads(run("show", fitted / "smile.safetensors", "--json").output)
    assert described["shape"] == [16]
    assert described["settings"]["score"] == "smile"


def test_import_calibrates_known_attributes_and_asks_for_the_model(folder: Path, fitted: Path, tmp_path: Path) -> None:
    normal = Direction.load(fitted / "smile.safetensors").normal.numpy()
    np.save(tmp_path / "smile.npy", -3 * normal[None])
    result = run("import", tmp_path / "smile.npy", "--model", folder, "--probes", 8, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "calibrated in probability" in result.output
    found = Direction.load(tmp_path / "smile.safetensors", load_model(folder))
    torch.testing.assert_close(found.normal, torch.from_numpy(normal))  # turned: more is more
    assert found.settings["norm"] == pytest.approx(3, rel=1e-4)
    missing = run("import", tmp_path / "smile.npy")
    assert missing.exit_code == 2
    assert "Missing option '--model'" in missing.stderr
    np.save(tmp_path / "foreign.npy", np.ones((18, 512)))
    foreign = run("import", tmp_path / "foreign.npy", "--model", folder)
    assert foreign.exit_code == 1
    assert "does not have" in foreign.stderr


def test_list_of_a_model_without_directions(folder: Path) -> None:
    result = run("list", "--model", folder)
    assert result.exit_code == 0
    assert "tiny has no directions. Fit some with `latentedit-direction fit --attr all`." in result.output


def test_directions_of_another_generator_are_refused(folder: Path, tmp_path: Path) -> None:
    path = Direction("age", torch.ones(16), fingerprint="feed").save(tmp_path / "age.safetensors")
    result = run("eval", path, "--model", folder, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Direction 'age' belongs to the generator feed")
    assert not (tmp_path / "out").exists()
