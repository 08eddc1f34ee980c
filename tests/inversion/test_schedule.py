from __future__ import annotations

import torch

from latentedit.inversion.schedule import Schedule


def _schedule(count: int = 1, steps: int = 100, **changes: float) -> Schedule:
    options = {"ramp_up": 0.1, "ramp_down": 0.2, "patience": 10, "min_gain": 0.01} | changes
    return Schedule(count, steps, **options)  # type: ignore[arg-type]


def test_ramps_up_linearly_holds_and_ends_on_half_a_cosine():
    schedule = _schedule()
    rates = torch.cat([schedule.rates(step) for step in range(100)])
    torch.testing.assert_close(rates[:10], torch.arange(1, 11) / 10)
    assert torch.equal(rates[10:81], torch.ones(71))
    torch.testing.assert_close(rates[90], torch.tensor(0.5))
    assert 0 < rates[99] < 0.01


def test_a_row_that_gains_nothing_ramps_down_early_and_the_others_go_on():
    schedule = _schedule(count=2)
    ended: dict[int, int] = {}
    for step in range(100):
        for row in schedule.finished(step).nonzero()[:, 0].tolist():
            ended.setdefault(row, step)
        schedule.observe(step, torch.tensor([1.0, 0.9**step]))
    # 10 steps of patience after the first loss, then 20 steps of ramp.
    assert ended == {0: 29, 1: 99}
    assert float(schedule.rates(20)[0]) == 0.5
    assert float(schedule.rates(20)[1]) == 1.0


def test_patience_zero_takes_every_step():
    schedule = _schedule(patience=0)
    for step in range(99):
        schedule.observe(step, torch.ones(1))
        assert not schedule.finished(step)
    assert schedule.finished(99)


def test_small_gains_do_not_count():
    schedule = _schedule(min_gain=0.5, patience=10)
    for step in range(40):
        schedule.observe(step, torch.tensor([0.99**step]))
    assert int(schedule.end[0]) == 10 + 20
