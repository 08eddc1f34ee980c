"""Light scores against pictures whose light is set by hand."""

from __future__ import annotations

import pytest
import torch

from latentedit.directions.fitting.light import LIGHT, light_scores


def test_scores_are_those_of_the_middle_of_the_picture():
    images = torch.full((2, 3, 20, 20), 0.9)
    images[0, :, 4:16, 4:16] = torch.tensor([0.5, 0.1, -0.3]).view(3, 1, 1)
    images[1, :, 4:16, 4:10], images[1, :, 4:16, 10:16] = -0.2, 3.0
    scores = light_scores(images)
    assert tuple(scores) == LIGHT
    assert scores["brightness"].tolist() == pytest.approx([0.2126 * 0.5 + 0.7152 * 0.1 - 0.0722 * 0.3, 0.4])
    assert scores["warmth"].tolist() == pytest.approx([0.8, 0.0], abs=1e-6)
    assert scores["contrast"].tolist() == pytest.approx([0.0, 0.6 * (144 / 143) ** 0.5], abs=1e-6)
