"""The figures of a model, on its own samples: every figure against its definition, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.editing import edit
from latentedit.evaluation import edits as evaluation
from latentedit.evaluation.edits import EDITS, Photos, evaluate_edits, evaluate_inversion
from latentedit.evaluation.generator import sample
from latentedit.images import to_pil, to_tensor
from latentedit.inversion import invert
from latentedit.models import Model, load_model


class Faces:
    """Stands for `FaceCrops`: four grey photos with labels."""

    rows = ({"age": "30", "eyeglasses": "1"}, {"age": "12", "eyeglasses": "0"}, {"eyeglasses": "1", "male": "0"}, {})

    def __len__(self) -> int:
        return len(self.rows)

    def tensor(self, indices) -> torch.Tensor:
        return torch.full((len(indices), 3, 8, 8), 0.5) * torch.as_tensor(indices)[:, None, None, None]

    def landmarks(self, indices) -> np.ndarray:
        return np.ones((len(indices), 68, 2)) * np.asarray(indices)[:, None, None]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model()


@pytest.fixture
def photos(model: Model) -> Photos:
    images = to_tensor(to_pil(sample(model.generator, 3, 0.7)))
    return Photos(images, np.zeros((3, 68, 2)), [{"age": "70", "male": "1"}, {"age": "5"}, {"age": "64", "male": "0"}])


@pytest.fixture
def distances(monkeypatch) -> None:
    """Root mean squared differences in the place of dlib's distances."""

    def differences(judge, a, b, landmarks) -> np.ndarray:
        assert len(a) == len(b) == len(landmarks)
        return (a - b).square().mean(dim=[1, 2, 3]).sqrt().numpy()

    monkeypatch.setattr(evaluation, "dlib_distances", differences)


def test_photos_are_chosen_by_label_and_joined() -> None:
    faces = Faces()
    wearing = Photos.choose(faces, 5, label="eyeglasses")  # type: ignore[arg-type]
    assert [row["eyeglasses"] for row in wearing.rows] == ["1", "1"]
    both = wearing.joined(Photos.choose(faces, 3))  # type: ignore[arg-type]
    assert len(both.images) == len(both.landmarks) == len(both.rows) == 5
    for image, points, row in zip(both.images, both.landmarks, both.rows, strict=True):
        index = faces.rows.index(row)
        assert (image == 0.5 * index).all()
        assert (points == index).all()
    assert Photos.choose(faces, 3, seed=1).rows == Photos.choose(faces, 3, seed=1).rows  # type: ignore[arg-type]


def test_inversion_figures_are_means_over_photos_and_groups(model: Model, photos: Photos, distances: None) -> None:
    figures, inversions = evaluate_inversion(model, photos, None, "encoder")  # type: ignore[arg-type]
    alone = [invert(picture, model=model, method="encoder", face=None) for picture in to_pil(photos.images)]
    errors = (to_tensor([found.image for found in alone]) - photos.images).square().mean(dim=[1, 2, 3]).numpy()
    assert len(inversions) == figures["photos"] == 3
    assert figures["mse"] == pytest.approx(errors.mean())
    assert figures["dlib_distance"] == pytest.approx(np.sqrt(errors).mean())
    assert figures["groups"]["age 60+"]["photos"] == 2
    assert figures["groups"]["age 60+"]["mse"] == pytest.approx(errors[[0, 2]].mean())
    assert figures["groups"]["male"]["mse"] == pytest.approx(errors[0])
    assert set(figures["groups"]) == {"age 60+", "age 0-12", "male", "female"}
    assert figures["seconds_one_photo"] > 0


def test_edits_are_tried_where_there_is_something_to_change(model: Model, photos: Photos, distances: None) -> None:
    inversions = [invert(picture, model=model, method="encoder", face=None) for picture in to_pil(photos.images)]
    with torch.no_grad():
        seen = model.require("perception").perceive(to_tensor([inversion.image for inversion in inversions]))
    figures = evaluate_edits(model, inversions, photos, None)  # type: ignore[arg-type]
    assert figures["age +15"]["change_mean"] > 3
    smiling = int((seen.smile > 0.5).sum())
    assert figures.get("smile to 0.9", {"tried": 0})["tried"] == 3 - smiling
    wearing = int((seen.eyeglasses > 0.5).sum())
    assert figures.get("eyeglasses off", {"tried": 0})["tried"] == wearing
    for name, amounts, attribute, appears in EDITS:
        chosen = [v for v, score in zip(inversions, seen[attribute], strict=True) if (score < 0.5) == appears]
        with torch.no_grad():
            edited = [model.require("perception").perceive(edit(v, model=model, **amounts).pixels) for v in chosen]
        reached = [bool((now[attribute] > 0.5) == appears) for now in edited]
        assert (name in figures) == bool(chosen)
        if chosen:
            assert figures[name]["success"] == pytest.approx(np.mean(reached))
