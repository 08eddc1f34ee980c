"""Ends of labels and separating hyperplanes on latents whose normal is known."""

from __future__ import annotations

import numpy as np
import pytest

from latentedit.directions import FitConfig, fit_direction
from latentedit.directions.fitting.svm import choose_ends

D = 32


def latents(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated latents [count, D] and their true unit normal."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(D) + 0.4 * rng.standard_normal((D, D)) / D**0.5
    normal = rng.standard_normal(D)
    return (rng.standard_normal((count, D)) @ mixing).astype(np.float32), normal / np.linalg.norm(normal)


def test_stochastic_solver_for_many_latents_agrees_with_the_exact_one() -> None:
    w, normal = latents(20_000)
    score = w @ normal + np.random.default_rng(1).normal(0, 0.5, 20_000)
    exact = fit_direction(w, score, name="d", config=FitConfig(share=0.3))
    many = fit_direction(w, score, name="d", config=FitConfig(share=0.3, exact=100))
    assert (exact.settings["solver"], many.settings["solver"]) == ("LinearSVC", "SGDClassifier")
    assert float(exact.normal @ many.normal) > 0.97
    assert many.accuracy == pytest.approx(exact.accuracy, abs=0.01)


def test_ends_are_balanced_disjoint_and_extreme() -> None:
    labels = np.random.default_rng(0).permutation(1000).astype(float)
    ends = choose_ends(labels, FitConfig(share=0.1))
    assert [len(part) for part in (ends.train_high, ends.train_low, ends.held_high, ends.held_low)] == [70, 70, 30, 30]
    assert labels[ends.train_high].min() >= 900
    assert labels[ends.held_low].max() < 100
    everything = np.concatenate([ends.train, ends.held, ends.between])
    assert len(set(everything.tolist())) == len(everything)


def test_a_rare_attribute_is_learnt_from_those_that_have_it() -> None:
    labels = np.concatenate([np.linspace(0.9, 1, 30), np.linspace(0, 0.2, 970)])
    ends = choose_ends(labels, FitConfig(share=0.1), rare_above=0.5)
    assert len(ends.train_high) + len(ends.held_high) == 30
    assert labels[ends.train_high].min() > 0.5
    nobody = choose_ends(labels[30:], FitConfig(share=0.1), rare_above=0.5)
    assert len(nobody.train_high) + len(nobody.held_high) == 10  # a tenth of the nominal share: those that come closest


def test_binary_labels_are_balanced_to_the_rarer_class() -> None:
    labels = np.concatenate([np.ones(40), np.zeros(960)])
    ends = choose_ends(labels, FitConfig())
    assert len(ends.train_high) == len(ends.train_low) == 28
    assert len(ends.held_high) == len(ends.held_low) == 12
