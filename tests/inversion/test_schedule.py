from __future__ import annotations

import torch

from latentedit.inversion.schedule import Schedule


def _schedule(steps: int = 100, **changes: float) -> Schedule:
    options = {"ramp_up": 0.1, "ramp_down": 0.2, "patience": 10, "min_gain": 0.01} | changes
    return Schedule(steps, **options)  # type: ignore[arg-type]


def _end(schedule: Schedule, losses: list[float]) -> int:
    for step, loss in enumerate(losses):
        if schedule.finished(step):
            return step
        schedule.observe(step, torch.tensor(loss))
    raise AssertionError("The schedule has no end.")


def test_ramps_up_linearly_holds_and_ends_on_half_a_cosine():
    schedule = _schedule()
    rates = torch.stack([schedule.rate(step) for step in range(100)])
    torch.testing.assert_close(rates[:10], torch.arange(1, 11) / 10)
    assert torch.equal(rates[10:81], torch.ones(71))
    torch.testing.assert_close(rates[90], torch.tensor(0.5))
    assert 0 < rates[99] < 0.01


def test_a_photo_that_gains_nothing_ramps_down_early():
    # 10 steps of patience after the first loss, then 20 steps of ramp.
    still, gaining = _schedule(), _schedule()
    assert _end(still, [1.0] * 100) == 29
    assert float(still.rate(20)) == 0.5
    assert _end(gaining, [0.9**step for step in range(100)]) == 99
    assert float(gaining.rate(20)) == 1.0


def test_patience_zero_takes_every_step():
    assert _end(_schedule(patience=0), [1.0] * 100) == 99


def test_small_gains_do_not_count():
    assert _end(_schedule(min_gain=0.5, patience=10), [0.99**step for step in range(100)]) == 10 + 20 - 1
