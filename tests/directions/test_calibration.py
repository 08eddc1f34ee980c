"""The map between distance and score: closed-form values."""

from __future__ import annotations

import pytest
import torch

from latentedit.directions import Calibration
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


@pytest.mark.parametrize(
    ("distances", "scores"),
    [((0.0,), (1.0,)), ((0.0, 1.0), (1.0, 1.0)), ((1.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (0.0, float("nan"))),
     ((0.0, 1.0, 2.0), (0.0, 1.0))],
)  # fmt: skip
def test_curves_that_are_none_are_refused(distances: tuple[float, ...], scores: tuple[float, ...]) -> None:
    with pytest.raises(DirectionError, match="pairs that increase together"):
        Calibration(distances, scores)
