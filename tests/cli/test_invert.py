from __future__ import annotations

from importlib import resources
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from latentedit.cli import main
from latentedit.faces import CropTemplate
from latentedit.images import to_pil
from latentedit.inversion import Inversion
from latentedit.models import Model, save_model
from latentedit.networks import Encoder, EncoderConfig, Generator, GeneratorConfig
from latentedit.networks.perception import PerceptionConfig, PerceptionNetwork


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    """A random 16 px model as a folder on the disk."""
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8)
    perception = PerceptionConfig(
        size=16, widths=(8, 8), blocks=(1, 1), hidden=8, identity_dim=8, attributes=("smile",)
    )
    model = Model(
        name="tiny",
        generator=Generator(config).eval(),
        encoder=Encoder(EncoderConfig(16, 6, 8, channels=(8, 8, 8))).eval(),
        perception=PerceptionNetwork(perception).eval(),
        template=CropTemplate(0.7, 0.1),
    )
    return save_model(tmp_path_factory.mktemp("model"), model)


@pytest.fixture(scope="module")
def crops(model: Model, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("crops")
    images = to_pil(model.generator(torch.randn(2, 8)))
    paths = [folder / "anna.png", folder / "bert.png"]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    return paths


def _run(*arguments: object):
    return CliRunner().invoke(main, ["invert", *map(str, arguments)])


def test_writes_four_files_per_face_and_reports_the_figures(model, crops, tmp_path):
    result = _run(*crops, "--aligned", "--steps", 3, "--model", model.path, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{name}{suffix}"
        for name in ("anna", "bert")
        for suffix in (".safetensors", ".png", "-target.png", "-projected_w.npz")
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{tmp_path / 'out' / 'anna.safetensors'}: mse ")
    assert lines[0].endswith("(3 steps)")
    assert result.stderr == ""
    inversion = Inversion.load(tmp_path / "out" / "anna.safetensors", generator=model)
    assert inversion.settings["method"] == "hybrid"
    assert inversion.photo.path == str(crops[0])
    with Image.open(tmp_path / "out" / "anna.png") as image:
        assert image.tobytes() == inversion.image.tobytes()
    with Image.open(tmp_path / "out" / "anna-target.png") as image, Image.open(crops[0]) as crop:
        assert image.tobytes() == crop.convert("RGB").tobytes()
    with np.load(tmp_path / "out" / "anna-projected_w.npz") as archive:
        assert np.array_equal(archive["w"], inversion.ws.numpy())


def test_the_same_command_gives_the_same_bytes(model, crops, tmp_path):
    for name in ("a", "b"):
        options = ("--aligned", "--method", "optimize", "--steps", 4, "--seed", 5, "--model", model.path)
        assert _run(crops[0], *options, "-o", tmp_path / name).exit_code == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_video_shows_the_descent_beside_its_target(model, crops, tmp_path):
    result = _run(crops[0], "--aligned", "--steps", 5, "--save-video", "--model", model.path, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    frames = iio.imread(tmp_path / "anna.mp4")
    assert frames.shape == (6, 256, 512, 3)
    with Image.open(crops[0]) as crop:
        target = np.asarray(crop.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC), dtype=float)
    assert all(np.abs(frame[:, :256] - target).mean() < 12 for frame in frames)
    assert np.abs(frames[-1][:, 256:].astype(float) - frames[0][:, 256:]).mean() > 1


def test_weights_can_be_refined_and_the_photo_kept_inside(model, crops, tmp_path):
    options = ("--aligned", "--method", "encoder", "--refine", "weights", "--steps", 4, "--embed-photo")
    result = _run(crops[0], *options, "--model", model.path, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    inversion = Inversion.load(tmp_path / "anna.safetensors")
    assert inversion.delta
    assert inversion.photo.data == crops[0].read_bytes()
    assert inversion.render(model.generator).tobytes() == inversion.image.tobytes()


def test_the_face_is_found_in_a_photo(model, tmp_path):
    photo = resources.files("latentedit.assets") / "photos" / "two_people.jpg"
    result = _run(photo, "--face", "all", "--steps", 1, "--model", model.path, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    first, second = (Inversion.load(tmp_path / f"two_people-{i}.safetensors") for i in (1, 2))
    assert first.aligned.quad.tolist() != second.aligned.quad.tolist()
    assert first.paste_back().size == Image.open(str(photo)).size


def test_photos_of_one_name_do_not_overwrite_each_other(model, crops, tmp_path):
    twin = tmp_path / "other" / "anna.png"
    twin.parent.mkdir()
    twin.write_bytes(crops[1].read_bytes())
    options = ("--aligned", "--method", "encoder", "--model", model.path, "-o", tmp_path / "out")
    assert _run(crops[0], twin, *options).exit_code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors")} == {
        "anna.safetensors",
        "anna-2.safetensors",
    }


def test_failures_are_one_line_and_leave_no_file(model, crops, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (60, 60)).save(tmp_path / "empty.png")
    whole = crops[0].read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name, message in (
        ("text.jpg", "is not an image"),
        ("empty.png", "empty: The photo shows no face"),
        ("cut.png", "is damaged or cut short"),
    ):
        result = _run(tmp_path / name, "--model", model.path, "-o", tmp_path / "out")
        assert result.exit_code == 1, name
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert message in result.stderr
    result = _run(crops[0], tmp_path / "text.jpg", "--aligned", "--model", model.path, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_bad_usage_exits_with_2(model, crops, tmp_path):
    common = ("--model", model.path, "-o", tmp_path)
    for arguments, message in (
        ((), "Missing argument 'PHOTO...'"),
        ((crops[0], "--method", "magic"), "'magic' is not one of"),
        ((crops[0], "--steps", "-3"), "-3 is not in the range x>=0"),
        ((crops[0], "--face", "0"), "neither a number from 1"),
        ((tmp_path / "none.jpg",), "does not exist"),
        ((crops[0], "--method", "encoder", "--save-video"), "films the descent, and there is none"),
    ):
        result = _run(*arguments, *common)
        assert result.exit_code == 2, arguments
        assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_keeps_earlier_results_whole(model, crops, tmp_path, monkeypatch):
    import latentedit.inversion.api as api

    measure, calls = api.measure, []

    def interrupted(*arguments: object, **options: object):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(api, "measure", interrupted)
    arguments = (crops[0], "--aligned", "--method", "encoder", "--model", model.path, "-o", tmp_path)
    assert _run(*arguments).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = _run(*arguments)
    assert result.exit_code == 130
    assert result.stderr == "Aborted.\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
