"""Calibration and the figures of the report, against closed forms, brute force, and scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from latentedit.training.perception import finish as finishing
from latentedit.training.perception.finish import (
    best_threshold,
    pairs_of_persons,
    platt,
    roc_area,
    stranger_distances,
    whiten_identity,
)


def test_platt_scaling_recovers_the_distortion() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(20_000, generator=rng) * 2
    labels = (torch.rand(20_000, generator=rng) < truth.sigmoid()).float()
    slope, offset = platt((truth - 0.7) / 0.4, labels)
    assert slope == pytest.approx(0.4, rel=0.05)
    assert offset == pytest.approx(0.7, abs=0.08)


def test_platt_scaling_stays_near_the_identity_where_labels_are_few() -> None:
    slope, offset = platt(torch.tensor([-9.0, 9.0]), torch.tensor([0.0, 1.0]))
    assert slope == pytest.approx(1, abs=0.05)
    assert offset == pytest.approx(0, abs=0.05)


def test_roc_area_is_scikit_learns_with_ties() -> None:
    rng = np.random.RandomState(0)
    scores, labels = rng.randint(0, 12, 300) / 12, rng.randint(0, 2, 300)
    assert roc_area(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert np.isnan(roc_area(scores, np.ones(300)))


def test_best_threshold_is_that_of_brute_force() -> None:
    rng = np.random.RandomState(1)
    same = rng.rand(200) < 0.5
    distances = rng.randn(200) * 0.3 + np.where(same, 0.5, 0.9)
    threshold, accuracy = best_threshold(distances, same)
    tried = [((distances < t) == same).mean() for t in np.linspace(-0.5, 2, 20_000)]
    assert accuracy == pytest.approx(max(tried))
    assert ((distances < threshold) == same).mean() == pytest.approx(accuracy)


def test_pairs_are_half_same_never_repeated_and_spread_over_persons() -> None:
    persons = np.array(["a"] * 30 + ["b"] * 5 + ["c"] * 5 + [""] * 10 + [f"single {i}" for i in range(20)])
    pairs, same = pairs_of_persons(persons, 40)
    assert same.sum() == 20 == (~same).sum()
    assert ((persons[pairs[:, 0]] == persons[pairs[:, 1]]) == same).all()
    assert (persons[pairs] != "").all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == 40
    names, counts = np.unique(persons[pairs[same, 0]], return_counts=True)
    assert set(names) == {"a", "b", "c"}
    assert counts.max() <= 8
    again, _ = pairs_of_persons(persons, 40)
    np.testing.assert_array_equal(pairs, again)


def test_stranger_distances_are_those_of_different_named_persons() -> None:
    identity = np.eye(4)[[0, 1, 1, 2]]
    distances = stranger_distances(identity, np.array(["x", "x", "y", ""]))
    np.testing.assert_allclose(sorted(distances), [0, np.sqrt(2)], atol=1e-7)


@dataclass
class Crops:
    """Stands for a `FaceTable`: crops that are vectors of features, with their persons."""

    features: torch.Tensor
    person: np.ndarray

    def where(self, split: str) -> np.ndarray:
        assert split == "train", "held-out persons stay unseen"
        return np.arange(len(self.person))


def test_whitening_centres_identities_and_equalises_the_scatter_within_persons(monkeypatch) -> None:
    rng = np.random.RandomState(3)
    persons = np.repeat([f"p{i}" for i in range(400)], 5)
    within = np.array([4.0, 1.0, 0.25, 1.0])
    features = np.repeat(rng.randn(400, 4), 5, axis=0) + rng.randn(2000, 4) * within + 10
    table = Crops(torch.from_numpy(features).float(), persons)
    torch.manual_seed(0)
    network = SimpleNamespace(identity_head=torch.nn.Linear(4, 4))
    torch.nn.init.orthogonal_(network.identity_head.weight)  # one that is nearly singular by chance loses digits
    monkeypatch.setattr(finishing, "predict", lambda network, table, rows: network.identity_head(table.features[rows]))
    whiten_identity(network, table, shrinkage=1e-6)  # type: ignore[arg-type]
    identity = network.identity_head(table.features).detach().double().numpy()
    np.testing.assert_allclose(identity.mean(axis=0), 0, atol=1e-4)
    means = identity.reshape(400, 5, 4).mean(axis=1)
    scatter = np.cov((identity - np.repeat(means, 5, axis=0)).T)
    np.testing.assert_allclose(scatter / scatter[0, 0], np.eye(4), atol=1e-3)


def test_identities_stay_as_they_are_where_too_few_persons_have_several_crops() -> None:
    network = SimpleNamespace(identity_head=torch.nn.Linear(4, 4))
    before = network.identity_head.weight.clone()
    whiten_identity(network, Crops(torch.randn(10, 4), np.array(["a"] * 5 + [""] * 5)))  # type: ignore[arg-type]
    assert torch.equal(network.identity_head.weight, before)
