"""`latentedit describe` and `latentedit verify`: text, JSON, failures; and what the committed weights see."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from latentedit.cli import main
from latentedit.cli._perceive import find_faces, perceive
from latentedit.directions import Direction
from latentedit.models import Model, embedded_folder, load_model, load_network, save_model
from latentedit.networks import Generator, GeneratorConfig, PerceptionConfig, PerceptionNetwork

PHOTOS = Path(str(resources.files("latentedit.assets"))) / "photos"
A, B, TWO = (str(PHOTOS / name) for name in ("portrait_a.jpg", "portrait_b.jpg", "two_people.jpg"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder whose perception network always sees a smile, no hat, nothing of a beard, and an age of 40."""
    torch.manual_seed(0)
    config = PerceptionConfig(
        size=32, widths=(4, 8), blocks=(1, 1), hidden=8, attributes=("smile", "hat", "male", "bangs")
    )
    network = PerceptionNetwork(config)
    with torch.no_grad():
        for head in (network.attribute_head, network.age_head):
            head.weight.zero_()
        network.attribute_head.bias.copy_(torch.tensor([3.0, -3.0, 0.0, 2.0]))
        network.age_head.bias.zero_()
        network.age_head.bias[40] = 100
        network.accept_distances.copy_(torch.tensor([9.0, 8.0, 1e-9, 1e-9, 1e-9]))
    small = GeneratorConfig(resolution=16, z_dim=16, w_dim=16, mapping_layers=1, channel_base=64, channel_max=8)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, Model("tiny", Generator(small), perception=network.eval(), licence="CC0-1.0"))
    return str(folder)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_describe_prints_what_is_seen(model: str) -> None:
    result = run("describe", A, "--model", model)
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0] == f"{A}, face 1"
    assert lines[1] == "age         40 years"
    assert lines[2].startswith("pose        yaw ")
    assert lines[2].endswith(" degrees")
    assert lines[3:] == ["smile       95 %", "gender      50 %", "hat         5 %", "also        bangs 88 %"]


def test_describe_names_what_edit_takes_and_marks_the_rest(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTEDIT_HOME", str(tmp_path))
    owner = load_model(model)
    for name in ("age", "smile", "gender"):
        Direction(name, torch.ones(16), fingerprint=owner.fingerprint).save(owner.user_directions / name)
    lines = [line.strip() for line in run("describe", A, "--model", model).stdout.splitlines()]
    assert lines[1] == "age         40 years"
    assert lines[2].startswith("pose        yaw* ")
    assert lines[3:6] == ["smile       95 %", "gender      50 %", "hat*        5 %"]
    assert lines[6] == "also        bangs* 88 %"
    assert lines[7] == "* not to be edited: tiny has no direction for it"
    found = json.loads(run("describe", A, "--json", "--model", model).stdout)
    assert found["editable"] == ["age", "smile", "gender"]


def test_describe_prints_json_of_every_face(model: str) -> None:
    result = run("describe", TWO, A, "--face", "all", "--json", "--model", model)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["units"]["age"] == "years"
    assert found["units"]["smile"] == "probability"
    two = [face for face in found["faces"] if face["photo"] == TWO]
    assert [face["face"] for face in two] == list(range(1, len(two) + 1))
    assert len(two) >= 2
    assert two[0]["scores"].keys() == found["units"].keys()
    assert two[0]["scores"]["smile"] == pytest.approx(0.953, abs=0.001)
    width, height = Image.open(TWO).size
    centre = [sum(corner[axis] for corner in two[0]["quad"]) / 4 for axis in (0, 1)]
    assert 0 < centre[0] < width
    assert 0 < centre[1] < height


@pytest.mark.parametrize(("rate", "same"), [("0.1", True), ("0.01", False)])
def test_verify_compares_with_the_distance_at_the_rate(model: str, rate: str, same: bool) -> None:
    result = run("verify", A, B, "--rate", rate, "--model", model, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["same"] is same
    assert found["false_accept_rate"] == float(rate)
    assert found["distance"] > 0
    assert found["threshold"] == (9.0 if same else 0.0)
    text = run("verify", A, B, "--rate", rate, "--model", model).stdout
    assert text.startswith(f"distance {found['distance']:.3f}, threshold ")
    verdict = "same person" if same else "not shown to be the same person"
    assert text.endswith(f" at a false-accept rate of {100 * float(rate):g} %: {verdict}\n")


def test_failures_are_one_line(model: str, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "empty.png")
    for command in (("describe", str(tmp_path / "empty.png")), ("verify", A, str(tmp_path / "empty.png"))):
        result = run(*command, "--model", model)
        assert result.exit_code == 1
        assert "empty.png' shows no face" in result.stderr
        assert result.stderr.count("\n") == 1
    assert run("verify", A, B, "--rate", "0.5", "--model", model).exit_code == 2
    assert run("describe").exit_code == 2


def test_committed_weights_see_the_photos_as_people_do() -> None:
    """Facts that any viewer agrees on; a broken export, crop or normalisation fails at once."""
    network = load_network(embedded_folder() / "perception.safetensors", kind="perception")
    assert isinstance(network, PerceptionNetwork)
    assert (embedded_folder() / "perception.safetensors").stat().st_size < 8_000_000
    faces = [find_faces(network, Path(name), 1)[0] for name in (A, B)]
    seen = perceive(network, faces)
    assert seen.mask.max() < 0.1
    assert seen.hat.max() < 0.2
    assert seen.age.min() > 18
    mirrored = [face.crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for face in faces]
    from latentedit.images import to_tensor

    with torch.no_grad():
        again = network.perceive(to_tensor(mirrored))
    assert network.identity_distance(seen, again).max() < 0.45, "a mirrored face is the same person"
    assert network.identity_distance(seen, network.perceive(to_tensor([f.crop for f in faces[::-1]]))).min() > 0.5
    torch.testing.assert_close(again.yaw, -seen.yaw, atol=5, rtol=0)
    turned = [face.crop.rotate(-10, Image.Resampling.BICUBIC) for face in faces]  # PIL turns anti-clockwise
    with torch.no_grad():
        torch.testing.assert_close(
            network.perceive(to_tensor(turned)).roll - seen.roll, torch.full([2], 10.0), atol=6, rtol=0
        )
