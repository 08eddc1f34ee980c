"""`filtered_lrelu` against the published implementation (tests/golden), its derivatives, and its registration."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentedit.cuda_ops import filtered_lrelu
from latentedit.cuda_ops.filters import setup_filter
from latentedit.cuda_ops.native import require

module = importlib.import_module("latentedit.cuda_ops.filtered_lrelu")  # the package has a function of that name
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "filtered_lrelu.npz")
CASES = json.loads(str(GOLDEN["cases"]))
BACKENDS = ["reference", "auto"]


def tensors(case: dict[str, Any]) -> tuple[dict[str, Tensor | None], dict[str, Any]]:
    options = {name: value for name, value in case.items() if name != "key"}
    names = ("x", "b", "fu", "fd", "y", "dy", "dx", "db")
    found = {name: f"{case['key']}/{name}" for name in names}
    return {n: torch.from_numpy(GOLDEN[key]) if key in GOLDEN.files else None for n, key in found.items()}, options


def error(value: Tensor, reference: Tensor) -> float:
    assert value.shape == reference.shape
    return float((value.double() - reference.double()).abs().max() / reference.double().abs().max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=[case["key"] for case in CASES])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-6)])
def test_values_and_gradients_of_the_published_implementation(case, backend: str, dtype, tolerance: float) -> None:
    t, options = tensors(case)
    x, b = (t[name].to(dtype).requires_grad_() for name in ("x", "b"))
    y = filtered_lrelu(x, t["fu"], t["fd"], b, **options, backend=backend)
    dx, db = torch.autograd.grad(y, [x, b], t["dy"].to(dtype))
    assert error(y.detach(), t["y"]) <= tolerance
    assert error(dx, t["dx"]) <= tolerance
    assert error(db, t["db"]) <= tolerance


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
@pytest.mark.parametrize("radial", [False, True])
def test_kernels_agree_with_the_reference(layout, dtype, tolerance: float, radial: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 11, 9).to(dtype).contiguous(memory_format=layout)
    b = torch.randn(5).to(dtype)
    fu = setup_filter(torch.rand(12), separable=True)
    fd = setup_filter(torch.rand(8, 8)) if radial else setup_filter(torch.rand(12), separable=True)
    options = {"up": 4, "down": 2, "padding": [9, 7, 8, 6], "clamp": 1.5, "slope": 0.1}
    y = filtered_lrelu(x, fu, fd, b, **options)
    expected = filtered_lrelu(x.float(), fu, fd, b.float(), **options, backend="reference")
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=layout)
    assert error(y, expected) <= tolerance


SHAPES = [
    # up, down, taps up, taps down, padding
    (1, 1, 1, 1, [0, 0, 0, 0]),
    (2, 2, 12, 12, [9, 9, 9, 9]),
    (4, 2, 24, 12, [17, 16, 15, 14]),
    (2, 1, 12, 1, [5, 6, 5, 6]),
    (1, 2, 1, 6, [3, 3, 3, 3]),
    (3, 3, 7, 5, [-1, 2, 3, -2]),
    (2, 4, 6, 9, [10, 3, 1, 20]),
]


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_pass_and_two_passes_over_every_shape(passes, flip, radial, shape, monkeypatch) -> None:
    require("cpu")
    if passes == "two":
        monkeypatch.setattr(module, "_fused", lambda *args: None)
    else:
        monkeypatch.setattr(module, "_two_passes", lambda *args: pytest.fail("the fused kernel was not used"))
    torch.manual_seed(2)
    up, down, ku, kd, padding = shape
    fu = None if ku == 1 else setup_filter(torch.rand(ku), separable=True)
    fd = None if kd == 1 else setup_filter(torch.rand(kd, kd) if radial else torch.rand(kd), separable=not radial)
    b = torch.randn(3)
    options = {"up": up, "down": down, "padding": padding, "clamp": 0.8, "flip_filter": flip}
    for size in ((9, 13), (4, 30)):
        x = torch.randn(2, 3, *size)
        expected = filtered_lrelu(x, fu, fd, b, **options, backend="reference")
        assert error(filtered_lrelu(x, fu, fd, b, **options), expected) <= 2e-6


@pytest.mark.parametrize("slope", [0.2, 1.0])
def test_derivatives_of_both_orders(slope: float) -> None:
    torch.manual_seed(1)
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)
    fu, fd = setup_filter([1, 2, 3, 1]), setup_filter([1, 3, 3, 1])

    def function(x: Tensor, b: Tensor) -> Tensor:
        return filtered_lrelu(x, fu, fd, b, up=2, down=2, padding=3, slope=slope, clamp=0.9)

    assert torch.autograd.gradcheck(function, (x, b))
    assert torch.autograd.gradgradcheck(function, (x, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_registration(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 6, 7, dtype=dtype, requires_grad=True)
    b = torch.randn(3, dtype=dtype, requires_grad=True)
    fu, fd = setup_filter(torch.rand(6), separable=True), setup_filter([1, 3, 3, 1])
    args = (x, fu, fd, b, 2, 2, 3, 2, 4, 1, 1.4, 0.2, 0.8, False)
    torch.library.opcheck(torch.ops.latentedit.filtered_lrelu.default, args)
    bare = (x, None, None, None, 2, 2, 0, 0, 0, 0, 1.4, 0.2, 0.8, False)
    torch.library.opcheck(torch.ops.latentedit.filtered_lrelu.default, bare)


def test_no_filters_is_bias_and_leaky_relu() -> None:
    x = torch.linspace(-3, 3, 24).reshape(1, 2, 3, 4)
    b = torch.tensor([0.5, -0.5])
    expected = torch.nn.functional.leaky_relu(x + b[:, None, None], 0.2) * 2**0.5
    torch.testing.assert_close(filtered_lrelu(x, b=b), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(3, 4, 4)}, r"x is \[N, C, H, W\]"),
        ({"b": torch.zeros(5)}, r"b of shape \[5\] does not fit the 3 channels"),
        ({"up": 0}, "up=0"),
        ({"clamp": -1.0}, r"clamp=-1\.0"),
        ({"slope": -0.5}, r"slope=-0\.5"),
        ({"fd": torch.ones(40) / 40}, "filters do not fit"),
        ({"padding": -5}, "filters do not fit"),
        ({"backend": "fast"}, "'fast' is unknown"),
    ],
)
def test_arguments_that_fit_no_image(changes, message: str) -> None:
    arguments = {"x": torch.zeros(1, 3, 4, 4), **changes}
    with pytest.raises(ValueError, match=message):
        filtered_lrelu(arguments.pop("x"), **arguments)
