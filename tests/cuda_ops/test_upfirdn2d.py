"""`upfirdn2d` against golden vectors, against its reference in float64, and its everyday shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernel_vectors import DTYPES, LAYOUTS, TOLERANCE, error, golden_arrays, golden_cases
from torch.library import opcheck

from latentedit.cuda_ops import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

ARGUMENTS = ("up", "down", "padding", "flip_filter", "gain")
BLUR = [1, 3, 3, 1]
SHAPES_OF_STYLEGAN: list[dict[str, Any]] = [
    {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
    {"up": 2, "padding": [1, 2, 3, 0], "gain": -4},
    {"down": 2, "padding": 1},
    {"down": 2, "padding": [2, 1, 0, 3], "flip_filter": True},
    {"padding": 1},
    {"padding": [2, 1, -1, 2]},
    {"up": [2, 3], "down": [3, 2], "padding": [3, -1, 0, 4], "gain": 0.5},
]
FILTERS = {
    "factorises": setup_filter(BLUR),
    "does not": torch.tensor([[1.0, 2, 0, -1], [0, 1, 3, 1], [2, -1, 1, 1], [0.5, 0, 1, 2]]),
    "one axis": setup_filter(BLUR, separable=True),
    "long": setup_filter(torch.arange(1.0, 13)),
    "odd": torch.tensor([[1.0, 2, 3, 4, 5], [0, 1, 0, 1, 0], [1, 1, 1, -1, 1]]),
    "sums to zero": torch.tensor([1.0, -1, 1, -1]).outer(torch.tensor([1.0, 2, 3, 4])),
    "none": None,
}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("case", golden_cases("upfirdn2d"))
def test_matches_stylegan2_ada(case: dict[str, Any], backend: Any) -> None:
    golden = golden_arrays("upfirdn2d", case["key"])
    taps = case["filter_taps"]
    f = None if taps is None else setup_filter(taps)
    if f is not None:
        assert error(f, golden["f"]) < 1e-7
    x = golden["x"].requires_grad_()
    y = upfirdn2d(x, f, **{name: case[name] for name in ARGUMENTS}, backend=backend)
    (dx,) = torch.autograd.grad(y, x, golden["dy"])
    assert error(y.detach(), golden["y"]) < 1e-10
    assert error(dx, golden["dx"]) < 1e-10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", golden_cases("upfirdn2d"))
def test_matches_stylegan2_ada_in_every_dtype(case: dict[str, Any], dtype: torch.dtype, library: str) -> None:
    golden = golden_arrays("upfirdn2d", case["key"])
    f = None if case["filter_taps"] is None else setup_filter(case["filter_taps"])
    y = upfirdn2d(golden["x"].to(dtype), f, **{name: case[name] for name in ARGUMENTS})
    assert y.dtype == dtype
    assert error(y, golden["y"]) < TOLERANCE[dtype]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["nchw", "channels_last"])
@pytest.mark.parametrize("f", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_fast_paths(dtype: torch.dtype, f: Any, layout: Any, library: str) -> None:
    for shape in ((2, 16, 9, 11), (1, 5, 31, 4), (1, 80, 5, 39)):  # vectors, no vectors, several and a rest
        x = torch.randn(shape).to(dtype).to(memory_format=layout)
        for arguments in SHAPES_OF_STYLEGAN:
            if f is not None and f.numel() > 16 and "down" in arguments:
                continue
            try:
                reference = upfirdn2d(x.double(), f, **arguments, backend="reference")
            except ValueError:  # the long filter does not fit the small image
                continue
            assert error(upfirdn2d(x, f, **arguments), reference) < TOLERANCE[dtype], arguments


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("down", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("up", [1, 2, 3, 5])
def test_steps_of_every_parity_write_every_pixel(up: int, down: int, layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 5, 40, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    for taps in (1, 3):
        f = torch.arange(1.0, taps + 1).expand(taps, taps) / taps
        options: dict[str, Any] = {"up": (up, 1), "down": (down, 1), "padding": 2}
        expected = upfirdn2d(x.double(), f.double(), **options, backend="reference")
        assert error(upfirdn2d(x, f, **options, backend="native"), expected) < 5e-6


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 12), st.integers(1, 12)),
    taps=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    up=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    down=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(*[st.integers(-3, 6)] * 4),
    flip=st.booleans(),
    separable=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
)
def test_any_shape(
    size: Any, taps: Any, up: Any, down: Any, padding: Any, flip: bool, separable: bool, layout: Any
) -> None:
    f = torch.randn(taps[0]) if separable else torch.randn(taps)
    arguments = {"up": up, "down": down, "padding": padding, "flip_filter": flip, "gain": 1.5}
    x = torch.randn(size).to(memory_format=layout)
    try:
        reference = upfirdn2d(x.double(), f, **arguments, backend="reference")
    except ValueError:
        assume(False)
    assert error(upfirdn2d(x, f, **arguments, backend="native"), reference) < 5e-6


@pytest.mark.parametrize("f", ["factorises", "one axis", "odd"])
def test_derivatives(f: str) -> None:
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor) -> torch.Tensor:
        return upfirdn2d(x, FILTERS[f], up=2, down=[1, 3], padding=[2, 1, -1, 5], gain=2, backend="native")

    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


def test_registration() -> None:
    x = torch.randn(2, 3, 6, 7, requires_grad=True)
    numbers = (2, 1, 1, 2, 2, 1, 2, 1, False, 4.0)
    opcheck(torch.ops.latentedit.upfirdn2d.default, (x, FILTERS["factorises"], *numbers))
    last = torch.randn(2, 8, 6, 7).to(memory_format=torch.channels_last).requires_grad_()
    opcheck(torch.ops.latentedit.upfirdn2d.default, (last, FILTERS["one axis"], *numbers))
    opcheck(torch.ops.latentedit.upfirdn2d.default, (x, None, 1, 1, 1, 1, 0, 0, 0, 0, False, 1.0))


def test_compiles_to_one_graph() -> None:
    f, x = setup_filter(BLUR), torch.randn(1, 3, 8, 8, requires_grad=True)
    compiled = torch.compile(lambda x: downsample2d(upsample2d(x, f), f), fullgraph=True, backend="aot_eager")
    eager = downsample2d(upsample2d(x, f), f)
    torch.testing.assert_close(compiled(x), eager)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (compiled(x), eager)))


@pytest.mark.parametrize("taps", [BLUR, [1, 2, 1], [1, 1], [1, 2, 3, 3, 2, 1]])  # even and odd taps have equal sums
def test_constant_images_keep_value_and_size(taps: list[int]) -> None:
    f, x = setup_filter(taps), torch.ones(1, 2, 32, 32)
    for result, size in ((filter2d(x, f), 32), (upsample2d(x, f), 64), (downsample2d(x, f), 16)):
        assert result.shape == (1, 2, size, size)
        middle = result[..., size // 2 - 2 : size // 2 + 2, size // 2 - 2 : size // 2 + 2]
        torch.testing.assert_close(middle, torch.ones_like(middle))


def test_closed_form_of_nearest_upsampling_and_mean() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(upsample2d(x, setup_filter([1, 1])), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(downsample2d(upsample2d(x, setup_filter([1, 1])), setup_filter([1, 1])), x)


def test_setup_filter() -> None:
    assert setup_filter(None).tolist() == [[1.0]]
    assert setup_filter([1, 3]).tolist() == [[0.0625, 0.1875], [0.1875, 0.5625]]
    assert setup_filter([1, 3], separable=True, gain=4, flip=True).tolist() == [1.5, 0.5]
    assert setup_filter(range(8), normalize=False).shape == (8,)
    with pytest.raises(ValueError, match=r"cannot stay separable"):
        setup_filter(torch.ones(2, 2), separable=True)
    with pytest.raises(ValueError, match=r"not shape \[1, 1, 1\]"):
        setup_filter(torch.ones(1, 1, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": -4}, r"does not fit images of shape \[1, 1, 4, 4\] with up=1 and padding=-4"),
        ({"up": 0}, "up=0 is not a positive integer"),
        ({"padding": [1, 2, 3]}, r"padding=\[1, 2, 3\] is not an integer"),
        ({"backend": "cuda"}, "backend='cuda' is unknown"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        upfirdn2d(torch.zeros(1, 1, 4, 4), setup_filter(BLUR), **arguments)


def test_refuses_what_is_no_batch_of_images() -> None:
    with pytest.raises(ValueError, match=r"x is \[N, C, H, W\]"):
        upfirdn2d(torch.zeros(4, 4), None)
