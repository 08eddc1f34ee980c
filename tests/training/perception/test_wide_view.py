"""Training of the wide view's head: it learns what a drawn set shows, on a trunk that stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentedit.networks.perception import ATTRIBUTES
from latentedit.networks.wide_view import WideConfig, WideView
from latentedit.training.data.labels import FaceTable
from latentedit.training.perception.finish import roc_area
from latentedit.training.perception.wide_view import (
    WideTrainingConfig,
    compute_features,
    labelled_rows,
    train_wide_view,
)


@pytest.fixture(scope="module")
def table() -> FaceTable:
    """240 pictures of dark or light hair, half of it covered by a hat in some."""
    rng = np.random.RandomState(0)
    count, size = 240, 32
    pictures = np.full((count, size, size, 3), 150, np.uint8)
    dark, hat = rng.rand(count) < 0.5, rng.rand(count) < 0.3
    pictures[:, 4:28, 6:26] = np.where(dark, 30, 230)[:, None, None, None]
    pictures[hat, 0:14] = (200, 30, 60)
    pictures = np.clip(pictures + rng.randint(-12, 13, pictures.shape), 0, 255).astype(np.uint8)
    attributes = np.full((count, len(ATTRIBUTES)), np.nan, np.float32)
    attributes[:, ATTRIBUTES.index("black_hair")] = dark
    attributes[:, ATTRIBUTES.index("hat")] = hat
    split = np.array(["train", "train", "valid", "held"] * (count // 4))
    none = np.zeros((count, 0), np.float32)
    text = np.full(count, "")
    return FaceTable(
        shards={"discs-000": pictures}, shard=np.full(count, "discs-000"), row=np.arange(count),
        dataset=np.full(count, "discs"), file=text, person=text, split=split, masked=np.zeros(count, bool),
        ethnicity=np.full(count, np.nan), age=np.full(count, np.nan), attributes=attributes, pose=none,
        landmarks=none, identity=none,
    )  # fmt: skip


def test_it_learns_what_the_crops_show_and_leaves_the_trunk_alone(table: FaceTable) -> None:
    torch.manual_seed(0)
    view = WideView(WideConfig(("black_hair", "hat"), size=32, hidden=16, dropout=0.0))
    trunk = {name: value.clone() for name, value in view.trunk.state_dict().items()}
    seen: list[int] = []
    config = WideTrainingConfig(passes=150, batch=32, weight_decay=0.01, feature_dropout=0.0)
    train_wide_view(view, table, config, taught=("black_hair", "hat"), progress=seen.append)
    assert sum(seen) == 2 * 120
    assert all(torch.equal(value, trunk[name]) for name, value in view.trunk.state_dict().items())
    rows, labels = labelled_rows(table, "held", ("black_hair", "hat"))
    said = view.log_odds(table.images(rows).float() / 127.5 - 1).numpy()
    areas = [roc_area(said[:, index], labels[:, index]) for index in range(2)]
    assert min(areas) > 0.97, areas


def test_features_without_augmentation_are_the_views_own(table: FaceTable) -> None:
    view = WideView(WideConfig(("hat",), size=48, hidden=4)).eval()
    data = compute_features(view, table, "held", ("hat",), None)
    rows, labels = labelled_rows(table, "held", ("hat",))
    x = F.interpolate(table.images(rows).float() / 127.5 - 1, (48, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(data.x[0], view.features(x))
    assert np.array_equal(data.labels.numpy(), labels)


def test_rows_without_any_of_the_labels_take_no_part(table: FaceTable) -> None:
    rows, labels = labelled_rows(table, "train", ("black_hair", "beard"))
    assert len(rows) == 120
    assert np.isnan(labels[:, 1]).all()
    assert len(labelled_rows(table, "train", ("beard",))[0]) == 0
