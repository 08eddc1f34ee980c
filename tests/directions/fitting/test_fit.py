"""`fit_direction` on latents whose separating normal is known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from latentedit.directions import FitConfig, fit_direction
from latentedit.errors import DirectionError, LatentError

D = 32


def latents(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated latents [count, D] and their true unit normal."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(D) + 0.4 * rng.standard_normal((D, D)) / D**0.5
    normal = rng.standard_normal(D)
    return (rng.standard_normal((count, D)) @ mixing).astype(np.float32), normal / np.linalg.norm(normal)


def test_binary_labels_give_the_true_normal_and_intercept() -> None:
    w, normal = latents(4000)
    direction = fit_direction(w, w @ normal + 0.5 > 0, name="smile")
    assert float(direction.normal.double().numpy() @ normal) > 0.97
    assert direction.intercept == pytest.approx(0.5, abs=0.1)
    assert direction.accuracy is not None
    assert direction.accuracy > 0.95
    assert direction.unit == "probability"
    assert direction.settings["trained"] + direction.settings["held_out"] <= 4000


def test_numbers_give_the_true_normal_and_their_units() -> None:
    w, normal = latents(6000)
    years = 40 + 9 * (w @ normal) + np.random.default_rng(1).normal(0, 2, 6000)
    direction = fit_direction(w, years, name="age")
    assert float(direction.normal.double().numpy() @ normal) > 0.97
    assert direction.unit == "years"
    assert direction.accuracy is not None
    assert direction.accuracy > 0.97
    assert 0.8 < direction.metrics["accuracy_rest"] < direction.accuracy
    assert direction.calibration is not None
    assert direction.calibration.slope == pytest.approx(9, rel=0.15)
    fresh, _ = latents(500, seed=7)
    ws = torch.from_numpy(np.repeat(fresh[:, None], 4, 1))
    expected = direction.score(ws).numpy()
    mixed = np.random.default_rng(0)
    assert mixed is not None
    assert np.corrcoef(expected, fresh @ normal)[0, 1] > 0.95


def test_unrelated_labels_have_the_accuracy_of_a_coin() -> None:
    w, _ = latents(2000)
    direction = fit_direction(w, np.random.default_rng(5).standard_normal(2000), name="noise")
    assert direction.accuracy == pytest.approx(0.5, abs=0.12)


def test_calibration_of_binary_labels_is_the_share_at_each_distance() -> None:
    w, normal = latents(20_000)
    along = w @ normal
    labels = np.random.default_rng(2).random(20_000) < 1 / (1 + np.exp(-2 * along))
    direction = fit_direction(w, labels, name="smile")
    ws = torch.from_numpy(np.repeat((np.array([[-0.5], [0.0], [0.5]]) * normal)[:, None], 2, 1)).float()
    torch.testing.assert_close(direction.score(ws), torch.sigmoid(torch.tensor([-1.0, 0.0, 1.0])), atol=0.08, rtol=0)


def test_layers_are_averaged() -> None:
    w, normal = latents(1000)
    ws = w[:, None] + np.array([-1.0, 1.0], np.float32)[None, :, None]
    plain, layered = (fit_direction(x, w @ normal, name="d") for x in (w, torch.from_numpy(ws)))
    torch.testing.assert_close(plain.normal, layered.normal, atol=1e-3, rtol=0)


def test_same_seed_same_direction_and_another_seed_another_split() -> None:
    w, normal = latents(1500)
    first, second, third = (
        fit_direction(w, w @ normal, name="d", config=FitConfig(seed=seed)) for seed in (3, 3, 4)
    )  # fmt: skip
    torch.testing.assert_close(first.normal, second.normal, atol=0, rtol=0)
    assert not torch.equal(first.normal, third.normal)


def test_unlabelled_latents_are_left_out() -> None:
    w, normal = latents(3000)
    labels = w @ normal
    labels[::2] = np.nan
    direction = fit_direction(w, labels, name="d")
    assert direction.settings["labelled"] == 1500
    assert float(direction.normal.double().numpy() @ normal) > 0.95


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones(100), "100 labels do not differ"),
        (np.full(100, np.nan), "0 labels do not differ"),
        (np.arange(100) < 3, "Only 3 latents lie at the rarer end"),
        (np.arange(99), r"shape \[99\] for 100 latents"),
        (["old"] * 100, "are not numbers"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: object, message: str) -> None:
    with pytest.raises(DirectionError, match=message):
        fit_direction(np.random.default_rng(0).standard_normal((100, 8)), labels, name="d")  # type: ignore[arg-type]


def test_latents_that_are_none_are_refused() -> None:
    bad = np.zeros((100, 8))
    bad[17, 3] = np.nan
    with pytest.raises(LatentError, match="Latent 17 holds NaN"):
        fit_direction(bad, np.arange(100), name="d")
    with pytest.raises(LatentError, match=r"shape \[100\]"):
        fit_direction(np.zeros(100), np.arange(100), name="d")


def test_scikit_learn_is_loaded_only_to_fit() -> None:
    code = (
        "import sys, latentedit.directions as d; d.Direction, d.fit_direction, d.fit_attributes, d.list_directions;"
        "print(sorted(m for m in ('sklearn', 'matplotlib', 'scipy') if m in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
