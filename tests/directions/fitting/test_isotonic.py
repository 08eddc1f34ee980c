"""Calibrations fitted to pairs: closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.directions import calibrate
from latentedit.errors import DirectionError


def test_fitted_to_a_noisy_logistic_curve_meets_it() -> None:
    rng = np.random.default_rng(0)
    distances = rng.normal(0, 2, 20_000)
    truth = 1 / (1 + np.exp(-1.5 * distances))
    fitted = calibrate(distances, (rng.random(20_000) < truth).astype(float), bounded=True)
    at = torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5], dtype=torch.float64)
    torch.testing.assert_close(fitted.score_at(at), torch.sigmoid(1.5 * at), atol=0.04, rtol=0)


def test_flat_ends_are_cut_to_where_the_score_stops_changing() -> None:
    fitted = calibrate(np.arange(9.0), np.array([5, 5, 5, 6, 7, 8, 9, 9, 9.0]), bounded=True)
    assert (fitted.distances[0], fitted.distances[-1]) == (2.0, 6.0)
    assert (fitted.scores[0], fitted.scores[-1]) == (5.0, 9.0)


def test_dips_are_smoothed_into_an_invertible_curve() -> None:
    fitted = calibrate(np.arange(7.0), np.array([0, 2, 1, 1, 4, 3, 6.0]), bounded=False)
    assert (np.diff(fitted.scores) > 0).all()
    assert (np.diff(fitted.distances) > 0).all()
    scores = torch.linspace(0, 6, 13, dtype=torch.float64)
    torch.testing.assert_close(fitted.score_at(fitted.distance_at(scores)), scores)


def test_weights_count_like_repeated_pairs() -> None:
    x, y = np.array([0.0, 1, 2, 3]), np.array([0.0, 3, 1, 4])
    weighted = calibrate(x, y, bounded=False, weights=np.array([1.0, 1, 3, 1]))
    assert weighted.scores == pytest.approx((0.0, 1.5, 4.0))


@pytest.mark.parametrize("scores", [np.zeros(10), -np.arange(10.0)])
def test_scores_that_do_not_rise_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(DirectionError, match="do not rise with the distance"):
        calibrate(np.arange(10.0), scores, bounded=False)
