"""The solver that makes units honest, on scores with a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentedit.editing.broyden import Goal, approach


def goal_of(base: Tensor, targets: Tensor, slopes: Tensor, limit: float = 10.0) -> Goal:
    return Goal(
        base=base, targets=targets, start=(targets - base) / slopes, slopes=slopes,
        limits=torch.full_like(base, limit), tolerances=torch.full((base.shape[1],), 0.1, dtype=base.dtype),
    )  # fmt: skip


def counting(function):
    calls: list[Tensor] = []

    def measure(distances: Tensor) -> Tensor:
        calls.append(distances.clone())
        return function(distances)

    return measure, calls


def test_a_good_calibration_costs_one_look() -> None:
    measure, calls = counting(lambda d: 5 + 2 * d)
    base, slopes = torch.tensor([[5.0]]).double(), torch.tensor([[2.0]]).double()
    at, scores = approach(measure, goal_of(base, base + 3, slopes))
    assert (float(at), float(scores), len(calls)) == (1.5, 8.0, 1)


@pytest.mark.parametrize("error", [0.3, 0.5, 2.0, 3.0])
def test_a_wrong_slope_is_corrected(error: float) -> None:
    """Linear scores: after one look the slope is known, and the second lands on the target."""
    measure, calls = counting(lambda d: 5 + 2 * d)
    base, slopes = torch.tensor([[5.0]]).double(), torch.tensor([[2.0 * error]]).double()
    at, _ = approach(measure, goal_of(base, base + 3, slopes))
    assert float(at) == pytest.approx(1.5)
    assert len(calls) == 2


def test_attributes_that_leak_into_each_other_are_solved_together() -> None:
    leak = torch.tensor([[2.0, 0.6], [-0.5, 1.0]]).double()
    measure, calls = counting(lambda d: d @ leak.T)
    base = torch.zeros(1, 2).double()
    targets = torch.tensor([[3.0, -1.0]]).double()
    at, scores = approach(measure, goal_of(base, targets, torch.tensor([[2.0, 1.0]]).double()))
    assert torch.allclose(scores, targets, atol=0.1)
    assert torch.allclose(at @ leak.T, scores)
    assert len(calls) <= 4


def test_curved_scores_are_reached() -> None:
    measure, _ = counting(lambda d: 3 * torch.sinh(d))
    base = torch.zeros(2, 1).double()
    targets = torch.tensor([[4.0], [-1.0]]).double()
    _, scores = approach(measure, goal_of(base, targets, torch.full((2, 1), 3.0).double()))
    assert torch.allclose(scores, targets, atol=0.1)


def test_rows_that_have_arrived_stand_still() -> None:
    measure, calls = counting(lambda d: torch.tensor([[2.0], [0.5]]).double() * d)
    base = torch.zeros(2, 1).double()
    approach(measure, goal_of(base, torch.full((2, 1), 3.0).double(), torch.full((2, 1), 2.0).double()))
    assert len(calls) > 1
    assert all(float(call[0]) == 1.5 for call in calls)


def test_the_limit_holds_and_the_best_attempt_is_kept() -> None:
    measure, calls = counting(lambda d: torch.tanh(d))
    base = torch.zeros(1, 1).double()
    at, scores = approach(measure, goal_of(base, torch.tensor([[2.0]]).double(), torch.ones(1, 1).double(), limit=3.0))
    assert all(abs(float(call)) <= 3.0 for call in calls)
    assert float(scores) == max(float(torch.tanh(call)) for call in calls)
    assert float(torch.tanh(at)) == pytest.approx(float(scores))


def test_a_score_that_answers_the_wrong_way_is_not_followed_into_nowhere() -> None:
    measure, calls = counting(lambda d: -d)
    base = torch.zeros(1, 1).double()
    at, _ = approach(measure, goal_of(base, torch.tensor([[1.0]]).double(), torch.ones(1, 1).double(), limit=4.0))
    assert float(at) == 1.0  # none of the attempts was nearer than the first
    assert all(abs(float(call)) <= 4.0 for call in calls)


def test_attributes_that_are_the_same_share_the_work() -> None:
    measure, _ = counting(lambda d: d.sum(dim=1, keepdim=True).expand(-1, 2))
    base = torch.zeros(1, 2).double()
    at, _ = approach(measure, goal_of(base, torch.ones(1, 2).double(), torch.ones(1, 2).double()))
    assert float(at.sum()) == pytest.approx(1.0, abs=0.15)
