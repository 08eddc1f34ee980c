"""A tiny random generator, a judge whose verdict has a closed form, and directions that move it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from latentedit.codes import Code
from latentedit.directions import Calibration, Direction
from latentedit.faces import CropTemplate, align
from latentedit.images import to_pil
from latentedit.inversion import Inversion, PhotoReference
from latentedit.models import Model
from latentedit.networks import Generator, GeneratorConfig

AGE_PER_RED = 400.0
LOGIT_PER_GREEN = 40.0


class Seen(Mapping):
    """Scores by name, as a `Perception`."""

    def __init__(self, scores: dict[str, Tensor], identity: Tensor) -> None:
        self._scores, self.identity = scores, identity

    def __getitem__(self, name: str) -> Tensor:
        from latentedit.errors import DirectionError

        if name not in self._scores:
            raise DirectionError(f"Unknown attribute {name!r}.", None)
        return self._scores[name]

    def __iter__(self):
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def scores(self) -> dict[str, Tensor]:
        return dict(self._scores)


class Judge(nn.Module):
    """Age is mean red, smile mean green, hat mean blue, counted from the ``average`` picture's [3]: everything that a
    test expects can be computed by hand."""

    def __init__(self, average: Tensor) -> None:
        super().__init__()
        self.average = nn.Parameter(average)
        self.calls = 0

    def perceive(self, images: Tensor) -> Seen:
        self.calls += 1
        red, green, blue = (images.mean(dim=(2, 3)) - self.average).unbind(1)
        small = nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)
        scores = {
            "age": 40 + AGE_PER_RED * red,
            "smile": torch.sigmoid(LOGIT_PER_GREEN * green),
            "hat": torch.sigmoid(LOGIT_PER_GREEN * blue),
        }
        return Seen(scores, nn.functional.normalize(small, dim=1))

    def identity_distance(self, a: Seen, b: Seen) -> Tensor:
        return torch.linalg.vector_norm(a.identity - b.identity, dim=1)


@pytest.fixture(scope="session")
def generator() -> Generator:
    torch.manual_seed(3)
    config = GeneratorConfig(resolution=32, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
    network = Generator(config).eval().requires_grad_(False)
    for name in network.synthesis.noise_shapes:
        network.synthesis.noise_gain(name).fill_(0.1)
    for module in network.synthesis.modules():
        if type(module).__name__ == "ToRGBLayer":
            module.weight.mul_(0.25)
    return network


@pytest.fixture
def judge(generator: Generator) -> Judge:
    average = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    return Judge(generator.synthesis(average).mean(dim=(0, 2, 3))).requires_grad_(False)


def measured_direction(model: Model, name: str, error: float) -> Direction:
    """The gradient of a score in W, with a calibration that is off by the factor ``error``."""
    z = torch.randn(16, model.generator.z_dim, generator=torch.Generator().manual_seed(0))
    w = model.generator.mapping(z, truncation_psi=0.1)[:, 0].detach().requires_grad_()
    images = model.generator.synthesis(w[:, None].expand(-1, model.generator.num_ws, -1))
    score = images.mean(dim=(2, 3))[:, {"age": 0, "smile": 1}[name]]
    (gradient,) = torch.autograd.grad(score.sum(), w)
    mean = gradient.mean(0)
    slope = float(mean.norm()) * error
    if name == "age":
        knots = (-80 / (AGE_PER_RED * slope), 80 / (AGE_PER_RED * slope))
        scores, unit = (-40.0, 120.0), "years"
    else:
        knots = tuple(float(d) / (LOGIT_PER_GREEN * slope) for d in np.linspace(-4, 4, 13))
        scores, unit = [1 / (1 + np.exp(-d)) for d in np.linspace(-4, 4, 13)], "probability"
    calibration = Calibration(knots, tuple(scores), bounded=unit == "probability")
    return Direction(name, mean, unit=unit, calibration=calibration, fingerprint=model.fingerprint)


@pytest.fixture(scope="session")
def plain_model(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Directions ``age`` (its calibration promises twice what it holds) and ``smile`` (half), in a folder."""
    folder = tmp_path_factory.mktemp("directions")
    model = Model(name="tiny", generator=generator, directions=folder)
    for name, error in (("age", 2.0), ("smile", 0.5)):
        measured_direction(model, name, error).save(folder / f"{name}.safetensors")
    return model


@pytest.fixture
def model(plain_model: Model, judge: Judge) -> Model:
    return replace(plain_model, perception=judge)


@pytest.fixture(scope="session")
def ws(generator: Generator) -> Tensor:
    z = torch.randn(3, generator.z_dim, generator=torch.Generator().manual_seed(7))
    return generator.mapping(z, truncation_psi=0.1)


def photo_of(width: int = 160, height: int = 120) -> Image.Image:
    noise = np.random.RandomState(1).randint(0, 60, (height, width, 3))
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    smooth = np.stack([80 + x // 2, 60 + y, 120 + 0 * x], -1)
    return Image.fromarray((smooth + noise - 30).clip(0, 255).astype(np.uint8))


def landmarks_at(x: float, y: float, scale: float) -> np.ndarray:
    """68 points of which those that align a face are where a face has them."""
    points = np.tile([x, y], (68, 1)).astype(float)
    points[36:42] = (x - 0.5 * scale, y)
    points[42:48] = (x + 0.5 * scale, y)
    points[48:60] = (x, y + scale)
    points[48], points[54] = (x - 0.3 * scale, y + scale), (x + 0.3 * scale, y + scale)
    return points


def inversion_of(
    model: Model, ws: Tensor, photo: Image.Image, where: tuple[float, float, float], seed: int = 0
) -> Inversion:
    """An inversion as `invert` returns it, of a face that lies at ``where`` (x, y, distance of the eyes)."""
    stream = torch.Generator().manual_seed(seed)
    shapes = model.generator.synthesis.noise_shapes
    noise = {name: torch.randn(1, 1, *shape, generator=stream) for name, shape in shapes.items()}
    image = to_pil(model.generator.synthesis(ws, noise=noise))[0]
    aligned = align(photo, landmarks_at(*where), CropTemplate(), model.resolution)
    return Inversion(
        code=Code(ws, noise), image=image, target=aligned.crop, metrics={}, fingerprint=model.fingerprint, model="tiny",
        settings={}, aligned=aligned, photo=PhotoReference.of_image(photo),
    )  # fmt: skip


@pytest.fixture
def photo() -> Image.Image:
    return photo_of()


@pytest.fixture
def inversion(model: Model, ws: Tensor, photo: Image.Image) -> Inversion:
    return inversion_of(model, ws[:1], photo, (80, 50, 14))


@pytest.fixture
def make_photo() -> Callable[..., Image.Image]:
    return photo_of


@pytest.fixture
def make_inversion() -> Callable[..., Inversion]:
    return inversion_of
