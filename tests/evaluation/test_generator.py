"""Figures of a generator: Fréchet distances against closed forms, the rest against their parts and without dlib."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.errors import MissingExtraError
from latentedit.evaluation import generator as measured
from latentedit.evaluation.generator import (
    faces_found,
    features,
    frechet_distance,
    frechet_multiple,
    measure_samples,
    sample,
)
from latentedit.evaluation.spectrum import sharpness
from latentedit.models import Model, load_model


class Faces:
    """Stands for held-out `FaceCrops`: eight samples of other seeds."""

    def __init__(self, model: Model) -> None:
        self.images = sample(model.generator, 8, first_seed=100)

    def __len__(self) -> int:
        return len(self.images)

    def tensor(self, indices) -> torch.Tensor:
        return self.images[torch.as_tensor(indices)]


def _every_other(images: torch.Tensor, detector: str, asked: list[torch.Tensor]) -> np.ndarray:
    """HOG sees every second face; the CNN, asked for the rest, sees the first of them."""
    if detector == "cnn":
        asked.append(images)
    return np.arange(len(images)) < 1 if detector == "cnn" else np.arange(len(images)) % 2 == 0


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model()


def test_faces_are_found_in_samples_and_not_in_noise(model: Model) -> None:
    noise = torch.rand(2, 3, 64, 64) * 2 - 1
    assert faces_found(torch.cat([sample(model.generator, 2, 0.5), noise])).tolist() == [True, True, False, False]


def test_samples_are_those_of_their_seeds(model: Model) -> None:
    torch.testing.assert_close(sample(model.generator, 5, batch_size=2)[3:], sample(model.generator, 2, first_seed=3))


def test_figures_are_their_measures(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, network = Faces(model), model.require("perception")
    compared: list[np.ndarray] = []
    monkeypatch.setattr(measured, "frechet_multiple", lambda *both: compared.extend(both) or 7.0)
    figures = measure_samples(model.generator, network, faces, 8)  # type: ignore[arg-type]
    samples = sample(model.generator, 4)
    assert figures["frechet_multiple"] == 7
    np.testing.assert_allclose(compared[0], features(network, samples), atol=1e-4)
    np.testing.assert_allclose(compared[1].sum(axis=0), features(network, faces.images).sum(axis=0), atol=1e-3)
    assert figures["sharpness_samples"] == pytest.approx(sharpness(samples, faces.images), rel=1e-3)
    truncated = sample(model.generator, 8, 0.7, first_seed=1_000_000)
    found, bare = faces_found(truncated), network.perceive(truncated)["mask"].detach().numpy() < 0.5
    assert figures["faces_found_psi07"] == found.mean()
    assert figures["faces_found_unmasked_psi07"] == found[bare].mean()

    asked: list[torch.Tensor] = []
    monkeypatch.setattr(measured, "faces_found", lambda images, detector="hog": _every_other(images, detector, asked))
    figures = measure_samples(model.generator, network, faces, 8, cnn=True)  # type: ignore[arg-type]
    torch.testing.assert_close(asked[0], truncated[1::2])
    assert figures["faces_found_psi07"] == 0.5
    assert figures["faces_found_either_psi07"] == 0.5 + 1 / 8

    def absent(images: torch.Tensor) -> np.ndarray:
        raise MissingExtraError("dlib is not installed.", None)

    monkeypatch.setattr(measured, "faces_found", absent)
    assert set(measure_samples(model.generator, network, faces, 2)) == {"frechet_multiple", "sharpness_samples"}  # type: ignore[arg-type]


def test_frechet_distance_of_gaussians() -> None:
    random = np.random.default_rng(0)
    a = random.standard_normal((20_000, 3))
    b = 2 * random.standard_normal((20_000, 3)) + np.array([1.0, 0, 0])
    # |mean|^2 + trace(1 + 4 - 2 * 2) = 1 + 3
    assert frechet_distance(a, b) == pytest.approx(4, rel=0.05)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_multiple_is_one_for_the_same_distribution() -> None:
    random = np.random.default_rng(1)
    photos, samples = random.standard_normal((4000, 4)), random.standard_normal((2000, 4))
    assert 0.3 < frechet_multiple(samples, photos) < 3
    assert frechet_multiple(samples + 1, photos) > 50
    with pytest.raises(ValueError, match="10 samples are fewer"):
        frechet_multiple(samples[:10], photos)
