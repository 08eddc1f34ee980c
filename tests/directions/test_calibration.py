"""The map between distance and score: closed-form values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentedit.directions import Calibration, calibrate
from latentedit.errors import DirectionError

YEARS = Calibration((-2.0, 0.0, 4.0), (20.0, 30.0, 70.0))
SCORE = Calibration((-2.0, 0.0, 2.0), (0.1, 0.5, 0.9), bounded=True)


def test_interpolates_between_knots_and_back() -> None:
    distances = torch.tensor([-2.0, -1.0, 0.0, 1.0, 4.0])
    scores = torch.tensor([20.0, 25.0, 30.0, 40.0, 70.0])
    torch.testing.assert_close(YEARS.score_at(distances), scores)
    torch.testing.assert_close(YEARS.distance_at(scores), distances)


def test_open_scores_go_on_with_the_outer_slopes_a_quarter_of_the_range_beyond() -> None:
    assert YEARS.distance_limits == (-3.5, 5.5)
    assert YEARS.limits == (12.5, 85.0)
    torch.testing.assert_close(YEARS.distance_at(torch.tensor([15.0, 80.0])), torch.tensor([-3.0, 5.0]))
    torch.testing.assert_close(YEARS.distance_at(torch.tensor([0.0, 200.0])), torch.tensor([-3.5, 5.5]))
    assert YEARS.beyond(torch.tensor([12.0, 12.6, 84.9, 86.0])).tolist() == [True, False, False, True]


def test_probabilities_end_at_the_outer_knots() -> None:
    assert SCORE.limits == (0.1, 0.9)
    torch.testing.assert_close(SCORE.score_at(torch.tensor([-9.0, 9.0])), torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(SCORE.distance_at(torch.tensor([0.0, 1.0])), torch.tensor([-2.0, 2.0]))
    assert SCORE.beyond(torch.tensor([0.05, 0.95, 0.5])).tolist() == [True, True, False]


def test_slope_is_the_mean_change_per_distance() -> None:
    assert YEARS.slope == pytest.approx(50 / 6)


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


@pytest.mark.parametrize(
    ("distances", "scores"),
    [((0.0,), (1.0,)), ((0.0, 1.0), (1.0, 1.0)), ((1.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (0.0, float("nan"))),
     ((0.0, 1.0, 2.0), (0.0, 1.0))],
)  # fmt: skip
def test_curves_that_are_none_are_refused(distances: tuple[float, ...], scores: tuple[float, ...]) -> None:
    with pytest.raises(DirectionError, match="pairs that increase together"):
        Calibration(distances, scores)
