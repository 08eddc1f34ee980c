"""Low-rank changes of weights."""

from __future__ import annotations

import pytest
import torch

from latentedit.codes.delta import adapted, blend_deltas, originals
from latentedit.errors import ModelError


def test_a_change_is_the_product_of_its_factors(generator, code):
    tuned = adapted(generator, code.deltas[0])
    name = "b16.conv1.weight"
    left, right = code.deltas[0][name]
    difference = dict(tuned.synthesis.named_parameters())[name] - generator.synthesis.get_parameter(name)
    torch.testing.assert_close(difference.flatten(1), left @ right, atol=1e-5, rtol=1e-5)
    assert adapted(generator, {}) is generator


def test_a_change_of_another_generator_is_refused(generator, code):
    left, right = code.deltas[0]["b16.conv1.weight"]
    for delta in ({"b32.conv0.weight": (left, right)}, {"b16.conv1.weight": (left[1:], right)}):
        with pytest.raises(ModelError, match=r"does not fit this generator\. Use the one it was made with"):
            originals(generator, delta)


def test_blended_changes_are_the_weighted_sum():
    def delta(seed: int) -> dict:
        stream = torch.Generator().manual_seed(seed)
        return {"w": (torch.randn(5, 2, generator=stream), torch.randn(2, 7, generator=stream))}

    a, b = delta(0), delta(1)
    left, right = blend_deltas(a, b, 0.3)["w"]
    torch.testing.assert_close(left @ right, 0.7 * a["w"][0] @ a["w"][1] + 0.3 * b["w"][0] @ b["w"][1])
    left, right = blend_deltas({}, b, 0.3)["w"]
    torch.testing.assert_close(left @ right, 0.3 * b["w"][0] @ b["w"][1])
