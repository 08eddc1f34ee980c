"""`bias_act` against golden vectors, against its reference in float64, and against its own derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_vectors import DTYPES, LAYOUTS, TOLERANCE, error, golden_arrays, golden_cases
from torch.library import opcheck

from latentedit.cuda_ops import activation, bias_act, launch
from latentedit.cuda_ops.activation_reference import ACTIVATIONS

SMOOTH = [name for name, spec in ACTIVATIONS.items() if not spec.piecewise_linear]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("case", golden_cases("bias_act"))
def test_matches_stylegan2_ada_with_both_derivatives(case: dict[str, Any], backend: Any) -> None:
    golden = golden_arrays("bias_act", case["key"])
    x, b, dy = (golden[name].requires_grad_() for name in ("x", "b", "dy"))
    arguments = {name: case[name] for name in ("act", "dim", "clamp", "gain", "alpha")}
    y = bias_act(x, b, **arguments, backend=backend)
    dx, db = torch.autograd.grad(y, [x, b], dy, create_graph=True)
    ddx, ddy = torch.autograd.grad((dx * golden["v"]).sum(), [x, dy], allow_unused=True)
    found = {"y": y, "dx": dx, "db": db, "ddx": torch.zeros_like(x) if ddx is None else ddx, "ddy": ddy}
    for name, value in found.items():
        assert error(value.detach(), golden[name]) < 1e-10, name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", golden_cases("bias_act"))
def test_matches_stylegan2_ada_in_every_dtype(case: dict[str, Any], dtype: torch.dtype, library: str) -> None:
    golden = golden_arrays("bias_act", case["key"])
    arguments = {name: case[name] for name in ("act", "dim", "clamp", "gain", "alpha")}
    y = bias_act(golden["x"].to(dtype), golden["b"].to(dtype), **arguments)
    assert y.dtype == dtype
    assert error(y, golden["y"]) < TOLERANCE[dtype]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["nchw", "channels_last"])
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_of_the_kernels(dtype: torch.dtype, act: str, layout: Any, library: str) -> None:
    """At points that are exact in every dtype, away from the kinks, so that only rounding differs."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randint(-24, 24, [2, 16, 5, 4], generator=generator) / 16 + 1 / 32
    bias = torch.randint(-4, 4, [16], generator=generator) / 8
    dy, v = (torch.randint(-8, 8, points.shape, generator=generator) / 4 for _ in range(2))
    spec = (act, 0.25, 1.5, 1.0)
    x64, b64 = points.double().requires_grad_(), bias.double()
    y64 = bias_act(x64, b64, act=act, alpha=0.25, gain=1.5, clamp=1.0, backend="reference")
    (dx64,) = torch.autograd.grad(y64, x64, dy.double(), create_graph=True)
    clear = (y64.abs() - 1).abs() > 0.02  # rounding may cross the clamp
    b = bias.to(dtype)
    x, dy_, v_ = (t.to(dtype).to(memory_format=layout) for t in (points, dy, v))
    linear = ACTIVATIONS[act].piecewise_linear
    ref = bias_act(x, b, act=act, alpha=0.25, gain=1.5, clamp=1.0) if linear else x
    dx = activation._slope(dy_, ref, None if linear else b, 1, *spec)
    assert error(dx * clear, dx64 * clear) < TOLERANCE[dtype]
    if not linear:
        (ddx64,) = torch.autograd.grad(dx64, x64, v.double())
        ddx = activation._curvature(v_, dy_, x, b, 1, *spec)
        assert error(ddx * clear, ddx64 * clear) < 2 * TOLERANCE[dtype]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    act=st.sampled_from(list(ACTIVATIONS)),
    dtype=st.sampled_from(DTYPES),
    strided=st.booleans(),
    data=st.data(),
)
def test_any_shape(shape: list[int], act: str, dtype: torch.dtype, strided: bool, data: Any) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = torch.randn(*shape, 2)[..., 0] if strided else torch.randn(shape)
    x, b = x.to(dtype), torch.randn(shape[dim]).to(dtype)
    y = bias_act(x, b, dim=dim, act=act, clamp=2, backend="native")
    reference = bias_act(x.double(), b.double(), dim=dim, act=act, clamp=2, backend="reference")
    assert error(y, reference) < TOLERANCE[dtype]


@pytest.mark.parametrize("shape", [(2, 24, 7, 9), (1, 8, 1, 1), (3, 520, 2, 3), (1, 1, 4, 4), (0, 8, 4, 4)])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["nchw", "channels_last"])
def test_layouts(shape: tuple[int, ...], layout: Any, library: str) -> None:
    x, b = torch.randn(shape).to(memory_format=layout), torch.randn(shape[1])
    y = bias_act(x, b, act="lrelu")
    assert y.stride() == torch.empty_like(x).stride() or min(shape) < 2
    assert error(y, bias_act(x.double(), b.double(), act="lrelu", backend="reference")) < 1e-6


def test_many_rows_and_long_rows(library: str) -> None:
    for shape in ((700, 3), (5, 3000), (2, 40000), (1, 3, 120, 130)):
        x, b = torch.randn(shape), torch.randn(shape[1])
        reference = bias_act(x.double(), b.double(), act="swish", backend="reference")
        assert error(bias_act(x, b, act="swish"), reference) < 1e-6


@pytest.mark.parametrize("alpha", [None, -0.5])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_derivatives_without_a_library(act: str, alpha: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find", lambda device: None)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, dtype=torch.float64, requires_grad=True)
    for clamp in (None, 0.9):

        def function(x: torch.Tensor, b: torch.Tensor, clamp: float | None = clamp) -> torch.Tensor:
            return bias_act(x, b, act=act, alpha=alpha, gain=1.3, clamp=clamp)

        assert torch.autograd.gradcheck(function, (x, b))
        assert torch.autograd.gradgradcheck(function, (x, b))


@pytest.mark.parametrize("gain", [1.3, -0.8])
@pytest.mark.parametrize("clamp", [None, 1.1])
@pytest.mark.parametrize(
    ("act", "alpha"), [*((act, None) for act in ACTIVATIONS), *(("lrelu", alpha) for alpha in (-0.5, 0.0, 1.7))]
)
def test_derivatives_of_first_and_second_order(act: str, clamp: float | None, gain: float, alpha: float | None) -> None:
    """A negative alpha or gain too, where the output alone no longer tells the slope."""
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return bias_act(x, b, act=act, alpha=alpha, gain=gain, clamp=clamp, backend="native")

    assert torch.autograd.gradcheck(function, (x, b))
    assert torch.autograd.gradgradcheck(function, (x, b))


def test_derivatives_of_third_and_fourth_order() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)

    def second(x: torch.Tensor) -> torch.Tensor:
        (first,) = torch.autograd.grad(bias_act(x, act="swish").sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, (x,))
    assert torch.autograd.gradgradcheck(second, (x,))


@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_registration(act: str) -> None:
    x, b = torch.randn(2, 5, 6, 7, requires_grad=True), torch.randn(5, requires_grad=True)
    ops = torch.ops.latentedit
    opcheck(ops.bias_act.default, (x, b, 1, act, 0.2, 1.3, 0.8))
    opcheck(ops.bias_act.default, (x.detach().to(memory_format=torch.channels_last), b, 1, act, 0.2, 1.3, 0.8))
    opcheck(ops.bias_act_slope.default, (x, x.detach(), b if act == "swish" else None, 1, act, 0.2, 1.3, 0.8))
    if act == "swish":
        opcheck(ops.bias_act_curvature.default, (x, x, x, b, 1, act, 0.2, 1.3, 0.8))


def test_compiles_to_one_graph() -> None:
    x, b = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(3)
    eager = bias_act(x, b, act="lrelu", backend="native")

    def function(x: torch.Tensor) -> torch.Tensor:
        return bias_act(x, b, act="lrelu", backend="native")

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), eager)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (compiled(x), eager)))


def test_leaves_its_input_alone() -> None:
    x = torch.randn(2, 3)
    before = x.clone()
    assert bias_act(x, act="linear") is x
    y = bias_act(x, gain=2.0, act="linear")
    assert torch.equal(x, before)
    assert torch.equal(y, 2 * x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act": "gelu"}, "act='gelu' is unknown; choose one of linear, relu, lrelu"),
        ({"b": torch.zeros(4)}, r"b of shape \[4\] does not run along dim=1 of x of shape \[2, 3\]"),
        ({"b": torch.zeros(3), "dim": 2}, r"does not run along dim=2"),
        ({"clamp": -1.0}, "clamp=-1.0 is negative"),
        ({"backend": "triton"}, "backend='triton' is unknown"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bias_act(torch.zeros(2, 3), **arguments)
