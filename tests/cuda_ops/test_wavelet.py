"""Fused wavelet blocks against the same mathematics as separate operations in float64, and their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from latentedit.cuda_ops import haar_cells, launch, wavelet_block, wavelet_image
from latentedit.cuda_ops.wavelet import ImageLayer, Separable
from latentedit.cuda_ops.wavelet_native import fits
from latentedit.cuda_ops.wavelet_reference import HAAR, cell_weights, image_cells
from latentedit.errors import BackendError

# (images, channels after the wavelet step, channels out, pixels (height, width) before it)
SIZES = [(2, 16, 32, 2, 4), (1, 32, 64, 9, 7), (1, 128, 96, 17, 33), (1, 16, 32, 40, 3), (2, 48, 160, 1, 1)]
ODD = (2, 3, 5, 4, 3)


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size) + seed))


def make_block(
    n: int, inputs: int, outputs: int, height: int, width: int, noise: str = "each", image_channels: int = 0
) -> dict[str, Any]:
    """Arguments of `wavelet_block`, of sizes that keep values near 1."""
    side = (2 * height, 2 * width)
    maps = {"none": None, "each": draw(n, 1, *side), "shared": draw(*side)}[noise]

    def layer(fan_in: int, seed: int) -> Separable:
        weight = draw(outputs, fan_in, seed=seed) * fan_in**-0.5
        return Separable(draw(n, fan_in, seed=seed), draw(fan_in, 1, 3, 3) / 3, weight, draw(outputs), maps)

    block: dict[str, Any] = {
        "x": draw(n, 4 * inputs, height, width).to(memory_format=torch.channels_last),
        "up_styles": draw(n, 4 * inputs),
        "first": layer(inputs, 1),
        "second": layer(outputs, 2),
    }
    if image_channels:
        head = (draw(4 * image_channels, outputs) * outputs**-0.5, draw(4 * image_channels), draw(n, outputs, seed=3))
        block["image"] = ImageLayer(*head)
    return block


def moved(value: Any, dtype: torch.dtype, learning: bool = False) -> Any:
    """The arguments in ``dtype``, as leaves that want gradients where ``learning``."""
    if isinstance(value, Tensor):
        return value.to(dtype).clone().requires_grad_(learning)
    if isinstance(value, tuple):
        return type(value)(*(moved(v, dtype, learning) for v in value))
    return value


def in_dtype(block: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {name: moved(value, dtype) for name, value in block.items()}


def distance(value: Tensor, reference: Tensor) -> float:
    assert value.shape == reference.shape
    return float((value.double() - reference.double()).norm() / reference.double().norm())


@pytest.mark.parametrize("image_channels", [0, 1, 3, 4])
@pytest.mark.parametrize("noise", ["none", "each", "shared"])
@pytest.mark.parametrize("size", [*SIZES, ODD], ids=str)
def test_block(size: Any, noise: str, image_channels: int) -> None:
    block = make_block(*size, noise=noise, image_channels=image_channels)
    expected = wavelet_block(**in_dtype(block, torch.float64))
    for backend in ("auto", "reference"):
        assert distance(wavelet_block(**block, backend=backend), expected) < 2e-6
    layout = torch.contiguous_format if image_channels else torch.channels_last
    assert wavelet_block(**block).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_native_is_what_runs(size: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    block = make_block(*size, image_channels=3)
    assert fits(block["x"], size[1], size[2], 3)
    assert not fits(block["x"].double(), size[1], size[2], 3)
    assert not fits(block["x"], 3, 5, 3)
    assert not fits(block["x"], size[1], size[2], 5)
    calls: list[str] = []
    function = launch.function
    monkeypatch.setattr(launch, "function", lambda name, x: calls.append(name) or function(name, x))
    wavelet_block(**block)
    assert calls[0] == "le_wavelet_block"


def test_haar_cells_invert_the_transform_of_the_paper() -> None:
    """LL, LH, HL, HH are half the sums and differences of a 2 x 2 cell, and the matrix is its own inverse times 4."""
    cell = draw(2, 2).double()
    (a, b), (c, d) = cell
    coefficients = torch.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]) / 2
    torch.testing.assert_close(haar_cells(0.5 * coefficients.view(1, 4, 1, 1))[0, 0], cell)
    haar = torch.tensor(HAAR, dtype=torch.float64)
    torch.testing.assert_close(haar @ haar.t(), 4 * torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("channels", [1, 3])
def test_image_layer_is_a_convolution_and_a_wavelet_step(channels: int) -> None:
    x, styles = draw(2, 6, 3, 4).double(), draw(2, 6).double()
    weight, bias = draw(4 * channels, 6).double(), draw(4 * channels).double()
    coefficients = torch.nn.functional.conv2d(x * styles[:, :, None, None], weight[:, :, None, None], bias)
    expected = haar_cells(0.5 * coefficients)
    torch.testing.assert_close(wavelet_image(x, ImageLayer(weight, bias, styles)), expected)
    torch.testing.assert_close(image_cells(x, *cell_weights(weight, bias, styles)), expected)


def test_rows_of_a_batch_do_not_know_each_other() -> None:
    block = make_block(3, 16, 32, 5, 6, image_channels=3)
    y = wavelet_block(**block)

    def row(value: Any, i: int) -> Any:
        if isinstance(value, Tensor):
            return value[i : i + 1]
        chosen = {n: row(getattr(value, n), i) for n in ("styles", "noise") if hasattr(value, n)}
        return value._replace(**chosen)

    for i in range(3):
        alone = wavelet_block(**{name: row(value, i) for name, value in block.items()})
        assert torch.equal(alone, y[i : i + 1])


def test_threads_change_nothing() -> None:
    block = make_block(2, 16, 32, 20, 6, image_channels=3)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(wavelet_block(**block))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def test_changed_weights_are_packed_again() -> None:
    block = make_block(1, 16, 32, 4, 4)
    frozen = [torch.nn.Parameter(t, requires_grad=False) for t in block["first"][1:3]]
    block["first"] = block["first"]._replace(depthwise=frozen[0], weight=frozen[1])
    before = wavelet_block(**block)
    for parameter in frozen:
        parameter.mul_(-2)
    after = wavelet_block(**block)
    assert distance(after, wavelet_block(**in_dtype(block, torch.float64))) < 1e-6
    assert distance(after, before) > 0.1


def leaves_of(
    block: dict[str, Any], dtype: torch.dtype, chosen: tuple[str, ...]
) -> tuple[dict[str, Any], list[Tensor]]:
    """The block with leaves for the named arguments, such as "first.styles", and these."""
    block = in_dtype(block, dtype)
    leaves = []
    for name in chosen:
        part, _, field = name.partition(".")
        leaf = (getattr(block[part], field) if field else block[part]).requires_grad_()
        leaves.append(leaf)
    return block, leaves


INVERTING = ("x", "up_styles", "first.styles", "second.styles", "first.noise", "second.noise")
REFINING = (*INVERTING, "first.weight", "second.weight")
TRAINING = (*REFINING, "first.depthwise", "second.depthwise", "first.bias", "second.bias")
IMAGE = ("image.styles", "image.weight")


@pytest.mark.parametrize("image_channels", [0, 3])
@pytest.mark.parametrize("chosen", [INVERTING, REFINING, TRAINING, ("up_styles",), ("second.noise",)], ids=str)
@pytest.mark.parametrize("noise", ["each", "shared"])
@pytest.mark.parametrize("size", [*SIZES, ODD], ids=str)
def test_gradients(size: Any, noise: str, chosen: tuple[str, ...], image_channels: int) -> None:
    """Rounding moves a value or two across the kink, where the gradient jumps; all others agree."""
    block = make_block(*size, noise=noise, image_channels=image_channels)
    chosen = (*chosen, *(IMAGE if image_channels and len(chosen) > 1 else ()))
    found = []
    for dtype in (torch.float32, torch.float64):
        arguments, leaves = leaves_of(block, dtype, chosen)
        y = wavelet_block(**arguments)
        seed = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).sin().reshape(y.shape).to(y.dtype)
        found.append(torch.autograd.grad(y, leaves, seed))
    for name, gradient, expected in zip(chosen, *found, strict=True):
        assert distance(gradient, expected) < 1e-2, name
        if name in ("x", "first.noise", "second.noise"):
            off = (gradient - expected).abs() > 2e-6 * expected.abs().max()
            assert off.double().mean() < 0.05, name


@pytest.mark.parametrize("image_channels", [0, 1])
def test_derivatives_of_any_order(image_channels: int) -> None:
    block, leaves = leaves_of(
        make_block(1, 1, 2, 1, 1, image_channels=image_channels), torch.float64, ("x", "up_styles", "second.styles")
    )

    def function(x: Tensor, up: Tensor, styles: Tensor) -> Tensor:
        second = block["second"]._replace(styles=styles)
        return wavelet_block(**{**block, "x": x, "up_styles": up, "second": second})

    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


def test_second_derivative_of_the_fused_block() -> None:
    """Float32 through the kernels against float64 through the composition."""
    block = make_block(1, 16, 32, 3, 4, image_channels=3)

    def penalty(dtype: torch.dtype) -> Tensor:
        arguments, (styles,) = leaves_of(block, dtype, ("first.styles",))
        (slope,) = torch.autograd.grad(wavelet_block(**arguments).square().sum(), styles, create_graph=True)
        return torch.autograd.grad(slope.norm(), styles)[0]

    assert distance(penalty(torch.float32), penalty(torch.float64)) < 1e-3


def flat(block: dict[str, Any]) -> list[Any]:
    first, second = block["first"], block["second"]
    pairs = [t for pair in zip(first[:4], second[:4], strict=True) for t in pair]
    cells = cell_weights(*block["image"]) if "image" in block else (None, None)
    return [block["x"], block["up_styles"], *pairs, first[4], second[4], *cells]


@pytest.mark.parametrize("image_channels", [0, 3])
def test_registration(image_channels: int) -> None:
    tensors = flat(make_block(2, 16, 32, 2, 3, image_channels=image_channels))
    for i in (0, 1, 2, 3, 6, 7, 10, 11):
        tensors[i] = tensors[i].requires_grad_()
    opcheck(torch.ops.latentedit.wavelet_block.default, tuple(tensors))


def test_compiles_to_one_graph() -> None:
    block = make_block(1, 16, 32, 2, 3, image_channels=3)
    styles = block["up_styles"].requires_grad_()
    compiled = torch.compile(
        lambda up: wavelet_block(**{**block, "up_styles": up}), fullgraph=True, backend="aot_eager"
    )
    slopes = [
        torch.autograd.grad(f(styles).square().sum(), styles)[0]
        for f in (compiled, lambda up: wavelet_block(**{**block, "up_styles": up}))
    ]
    torch.testing.assert_close(*slopes)


def test_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    block = make_block(1, 16, 32, 3, 2)
    native = wavelet_block(**block, backend="native")
    with pytest.raises(ValueError, match="backend='fast' is unknown"):
        wavelet_block(**block, backend="fast")  # type: ignore[arg-type]
    monkeypatch.setattr(launch, "find", lambda device: None)
    assert distance(wavelet_block(**block), native) < 1e-6
    meta = {name: moved(value, torch.float32) for name, value in block.items()}
    meta["x"] = meta["x"].to("meta")
    with pytest.raises(BackendError, match="no native kernels for tensors on 'meta'"):
        wavelet_block(**meta, backend="native")


def test_autocast_takes_separate_operations() -> None:
    block = make_block(1, 16, 32, 3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = wavelet_block(**block)
    assert y.dtype == torch.bfloat16
    assert distance(y, wavelet_block(**block)) < 3e-2
