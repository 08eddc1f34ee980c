"""A tiny model folder and inversions of it, for the commands that edit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from latentedit.cli import main
from latentedit.codes import Code
from latentedit.directions import Calibration, Direction
from latentedit.faces import CropTemplate, align
from latentedit.images import to_pil
from latentedit.inversion import Inversion, PhotoReference
from latentedit.models import Model, load_model, save_model
from latentedit.networks import Generator, GeneratorConfig, PerceptionConfig, PerceptionNetwork


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 16 px with a perception network and the directions ``age`` and ``smile``."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    config = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=8)
    generator = Generator(config).eval().requires_grad_(False)
    shape = PerceptionConfig(size=16, widths=(8, 8), blocks=(1, 1), hidden=8, identity_dim=8)
    perception = PerceptionNetwork(shape).eval().requires_grad_(False)
    template = CropTemplate(scale=0.6, shift=0.1)
    model = Model(name="tiny", generator=generator, perception=perception, template=template, card="# Tiny\n")
    saved = save_model(folder, model)
    units = {"age": ("years", (20.0, 60.0)), "smile": ("probability", (0.05, 0.95))}
    for seed, (name, (unit, scores)) in enumerate(units.items()):
        normal = torch.randn(8, generator=torch.Generator().manual_seed(seed))
        calibration = Calibration((-2.0, 2.0), scores, bounded=unit == "probability")
        direction = Direction(name, normal, unit=unit, calibration=calibration, fingerprint=saved.fingerprint)
        direction.save(folder / "directions" / f"{name}.safetensors")
    return folder


@pytest.fixture
def make_face(tiny_folder: Path) -> Callable[..., Path]:
    """Writes an inversion of a face at ``x`` of a photo, and returns its path."""

    def make(path: Path, *, seed: int = 0, x: float = 80.0, photo: Image.Image | None = None) -> Path:
        model = load_model(tiny_folder)
        if photo is None:
            pixels = np.random.RandomState(0).randint(90, 150, (120, 160, 3)).astype(np.uint8)
            photo = Image.fromarray(pixels)
        stream = torch.Generator().manual_seed(seed)
        ws = model.generator.mapping(torch.randn(1, 8, generator=stream))
        points = np.tile([x, 60.0], (68, 1))
        points[36:42], points[42:48], points[48:60] = (x - 10, 50), (x + 10, 50), (x, 70)
        points[48], points[54] = (x - 6, 70), (x + 6, 70)
        aligned = align(photo, points, model.template, 16)
        image = to_pil(model.generator.synthesis(ws))[0]
        inversion = Inversion(
            code=Code(ws), image=image, target=aligned.crop, metrics={"mse": 0.1}, fingerprint=model.fingerprint,
            model="tiny", settings={}, aligned=aligned, photo=PhotoReference.of_image(photo),
        )  # fmt: skip
        inversion.save(path)
        return path

    return make


@pytest.fixture
def call(tiny_folder: Path) -> Callable[..., Result]:
    """Runs ``latentedit COMMAND ...`` on the tiny model."""

    def run(command: str, *arguments: str | Path) -> Result:
        return CliRunner().invoke(main, [command, *map(str, arguments), "--model", str(tiny_folder)])

    return run
