"""Losses of all heads, against their definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from labelled_squares import CONFIG, GENDER, MASK, SMILE, faces

from latentedit.networks.perception import ATTRIBUTES
from latentedit.training.data.labels import FaceTable
from latentedit.training.perception.losses import Targets, losses


def head_losses(table: FaceTable, rows: list[int]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    heads = {"attributes": len(ATTRIBUTES), "age": 101, "pose": 3, "identity": 128}
    values = {name: torch.randn(len(rows), size, requires_grad=True) for name, size in heads.items()}
    still = torch.zeros(len(rows))
    parts = losses(values, Targets(table), torch.tensor(rows), still.bool(), still, CONFIG, torch.randn(5, 128))
    return values, parts


def test_a_head_gets_no_gradient_where_its_label_is_missing() -> None:
    table = faces()
    table.identity[0] = np.nan
    values, parts = head_losses(table, [0, 1, 2])  # celeba10k, utkface, lfw
    torch.stack(list(parts.values())).sum().backward()
    touched = {name: value.grad for name, value in values.items()}
    assert all(gradient is not None for gradient in touched.values())
    labelled = {(0, SMILE), (1, GENDER), (0, MASK), (1, MASK), (2, MASK)}
    assert {tuple(i) for i in touched["attributes"].nonzero().tolist()} == labelled
    assert touched["age"].abs().sum(1).bool().tolist() == [False, True, False]
    assert touched["identity"].abs().sum(1).bool().tolist() == [False, True, True]
    assert touched["pose"].abs().sum(0).bool().tolist() == [False, False, True], "only the roll is known"


def test_losses_are_those_of_the_definition() -> None:
    table = faces()
    values, parts = head_losses(table, [1])
    p = values["age"].softmax(1)[0]
    bins = torch.arange(101.0)
    label = float(table.age[1])
    wanted = torch.exp(-((bins - label) ** 2) / 8)
    wanted = wanted / wanted.sum()
    expected = -(wanted * p.log()).sum() + 0.5 * ((p * bins).sum() - label).abs()
    torch.testing.assert_close(parts["age"], CONFIG.age_weight * expected)
    target = Targets(table).identity[1]
    cosine = torch.cosine_similarity(values["identity"][0], target, dim=0)
    torch.testing.assert_close(parts["identity"], CONFIG.identity_weight * (1 - cosine))


def test_mirroring_turns_yaw_and_roll_round() -> None:
    table = replace(faces(), pose=np.tile(np.array([10, 5, 99], np.float32), (240, 1)))
    heads = {"attributes": torch.zeros(2, len(ATTRIBUTES)), "age": torch.zeros(2, 101), "identity": torch.randn(2, 128)}
    flipped, roll = torch.tensor([False, True]), torch.tensor([3.0, 3.0])
    for pose, exact in (([[10, 5, 3], [-10, 5, 3]], True), ([[10, 5, 3], [10, 5, 3]], False)):
        own = heads | {"pose": torch.tensor(pose, dtype=torch.float32)}
        part = losses(own, Targets(table), torch.tensor([0, 1]), flipped, roll, CONFIG, torch.randn(5, 128))["pose"]
        assert (part.item() == 0) is exact
