"""Which layers a direction acts on."""

from __future__ import annotations

import numpy as np
import torch

from latentedit.directions import Direction
from latentedit.directions.fitting.layer_choice import choose_layers, layer_ranges
from latentedit.directions.fitting.probe import LeakageMeter


def test_ranges_are_contiguous_and_of_whole_resolutions() -> None:
    assert layer_ranges((4, 8, 8, 16)) == [(0,), (0, 1, 2), (1, 2), (1, 2, 3), (3,)]


def test_a_score_of_the_first_layers_is_changed_there_and_one_of_all_layers_everywhere(
    probe, samples, perception
) -> None:
    ws = probe.spread_ws(samples.w[:16])
    resolutions = probe.generator.synthesis.layer_resolutions
    both = torch.from_numpy(np.asarray(perception.yaw + perception.age)).float()
    spreads = {"yaw": 4.0, "age": 4.0, "smile": 0.3}
    yaw = LeakageMeter(probe, ws, own="yaw", spreads=spreads)
    assert choose_layers(yaw, Direction("yaw", both), resolutions, 0.5) == (0, 1)
    age = LeakageMeter(probe, ws, own="age", spreads={"age": 4.0, "smile": 0.3})
    assert choose_layers(age, Direction("age", perception.age), resolutions, 0.5) is None
