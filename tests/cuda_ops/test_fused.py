"""Fused layers against the same mathematics as separate operations in float64, and their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kernel_vectors import DTYPES, error
from torch import Tensor
from torch.library import opcheck

from latentedit.cuda_ops import (
    bias_act,
    forget_prepared,
    fused_grad,
    fused_layer,
    launch,
    setup_filter,
    styled_conv,
    upsample2d,
)
from latentedit.cuda_ops.epilogue import Epilogue, apply_epilogue, can_fuse
from latentedit.cuda_ops.fused import Chain, chained_conv
from latentedit.cuda_ops.fused_reference import modulated
from latentedit.cuda_ops.image_branch import to_image, upsample_add
from latentedit.cuda_ops.modulation import bounded
from latentedit.networks import GeneratorConfig, synthesis

FILTER = setup_filter([1, 3, 3, 1])
# (up, pixels, input channels, output channels, images): direct, Winograd with and without a partial tile, odd channels
LAYERS = [
    (1, 5, 16, 32, 2),
    (1, 16, 32, 64, 2),
    (1, 22, 64, 32, 3),
    (1, 6, 5, 3, 2),
    (2, 8, 32, 16, 2),
    (2, 7, 5, 3, 1),
]
ROUNDING = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def make_layer(up: int, pixels: int, inputs: int, outputs: int, images: int, *, shared: bool = False) -> dict[str, Any]:
    """Arguments of `styled_conv`; weights are parameters, as in a generator, so that they are prepared."""
    generator = torch.Generator().manual_seed(up + pixels)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    return {
        "x": draw(images, inputs, pixels, pixels).to(memory_format=torch.channels_last),
        "weight": torch.nn.Parameter(draw(outputs, inputs, 3, 3), requires_grad=False),
        "styles": draw(images, inputs),
        "noise": draw(1 if shared else images, 1, pixels * up, pixels * up),
        "bias": draw(outputs),
    }


def run(layer: dict[str, Any], up: int, dtype: torch.dtype, **spec: Any) -> tuple[Tensor, list[Tensor]]:
    """The result in ``dtype`` and its gradients towards x, styles and noise; float64 takes the separate operations."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x, styles, noise = (
        layer[name].to(dtype if name == "x" else wide).clone().requires_grad_() for name in ("x", "styles", "noise")
    )
    weight, bias = layer["weight"], layer["bias"]
    if dtype == torch.float64:
        weight, bias = weight.double(), bias.double()
    y = styled_conv(x, weight, styles, bias=bias, noise=noise, resample_filter=FILTER, up=up, **spec)
    seed = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).sin().reshape(y.shape).to(y.dtype)
    return y.detach(), list(torch.autograd.grad(y, [x, styles, noise], seed))


def distance(value: Tensor, reference: Tensor) -> float:
    return float((value.double() - reference.double()).norm() / reference.double().norm())


@pytest.mark.parametrize("shared", [False, True], ids=["noise of each image", "noise of all"])
@pytest.mark.parametrize("size", LAYERS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_without_kinks(dtype: torch.dtype, size: Any, shared: bool, library: str) -> None:
    """With a linear activation the gradient does not jump, so that only rounding differs."""
    layer = make_layer(*size, shared=shared)
    y, gradients = run(layer, size[0], dtype, act="linear", gain=1.4)
    y64, gradients64 = run(layer, size[0], torch.float64, act="linear", gain=1.4)
    assert distance(y, y64) < ROUNDING[dtype]
    for gradient, reference in zip(gradients, gradients64, strict=True):
        assert gradient.shape == reference.shape
        assert distance(gradient, reference) < ROUNDING[dtype]


@pytest.mark.parametrize("clamp", [None, 1.0])
@pytest.mark.parametrize("size", LAYERS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layer(dtype: torch.dtype, size: Any, clamp: float | None, library: str) -> None:
    """Rounding moves some values across the kink or the clamp, where the gradient jumps: hence the wider bounds."""
    layer = make_layer(*size)
    y, gradients = run(layer, size[0], dtype, clamp=clamp)
    y64, gradients64 = run(layer, size[0], torch.float64, clamp=clamp)
    assert distance(y, y64) < ROUNDING[dtype]
    for gradient, reference in zip(gradients, gradients64, strict=True):
        assert distance(gradient, reference) < (2e-2 if dtype == torch.float32 else 0.25)


@pytest.mark.parametrize("act", ["lrelu", "swish"])
@pytest.mark.parametrize("size", LAYERS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_chain(dtype: torch.dtype, size: Any, act: str, library: str) -> None:
    """The product that a layer takes and the one that it leaves behind, kept beside its result or not."""
    layer = make_layer(*size)
    weight, styles, noise, bias = (layer[n] for n in ("weight", "styles", "noise", "bias"))
    following = torch.randn(size[4], size[3])
    x = layer["x"].to(dtype)
    rest = (weight, styles, noise, bias, FILTER, size[0], act, None, None, 1.0)
    plain = chained_conv(Chain(x), *rest).x
    for given in (Chain(x), Chain(x, modulated(x, styles))):
        kept = chained_conv(given, *rest, following=following)
        assert kept.product is not None
        assert distance(kept.x, plain) < ROUNDING[dtype]
        assert distance(kept.product, modulated(plain.double(), bounded(following, dtype))) < ROUNDING[dtype]
        alone = chained_conv(given, *rest, following=following, keep=False)
        assert alone.x is alone.product
        assert distance(alone.x, kept.product) < ROUNDING[dtype]


@pytest.mark.parametrize("architecture", ["skip", "orig"])
@pytest.mark.parametrize("reduced", [0, 2])
def test_network_of_chained_layers(
    architecture: str, reduced: int, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and gradients are those of layers that know nothing of each other."""
    config = GeneratorConfig(
        resolution=32, w_dim=16, channel_base=512, channel_max=32, architecture=architecture, reduced_res=reduced
    )
    torch.manual_seed(0)
    network = synthesis.SynthesisNetwork(config).eval().requires_grad_(False)
    ws = torch.randn(2, network.num_ws, 16)

    def render() -> list[Tensor]:
        with torch.no_grad():
            image = network(ws, dtype=torch.float16)
        leaf = ws.clone().requires_grad_()
        return [image, torch.autograd.grad(network(leaf, dtype=torch.float16).square().sum(), leaf)[0]]

    plain = render()
    calls: list[bool] = []

    def chains(x: Tensor) -> bool:
        calls.append(True)
        return True

    monkeypatch.setattr(synthesis, "products_pay", chains)
    for value, expected in zip(render(), plain, strict=True):
        assert distance(value, expected) < (2e-2 if reduced else 1e-5)
    assert calls


def test_what_was_not_kept_has_no_gradient() -> None:
    layer = make_layer(1, 8, 16, 16, 1)
    styles = layer["styles"].requires_grad_()
    rest = (layer["noise"], layer["bias"], FILTER, 1, "lrelu", None, None, None)
    left = chained_conv(Chain(layer["x"]), layer["weight"], styles, *rest, following=torch.ones(1, 16), keep=False)
    with pytest.raises(RuntimeError, match="only the product was kept"):
        torch.autograd.grad(left.x.sum(), styles)


@pytest.mark.parametrize("act", ["relu", "swish", "tanh"])
@pytest.mark.parametrize("up", [1, 2])
def test_other_activations(act: str, up: int, library: str) -> None:
    layer = make_layer(up, 8, 16, 32, 2)
    y, gradients = run(layer, up, torch.float32, act=act)
    y64, gradients64 = run(layer, up, torch.float64, act=act)
    assert distance(y, y64) < 1e-5
    for gradient, reference in zip(gradients, gradients64, strict=True):
        assert distance(gradient, reference) < 1e-2


def test_winograd_is_what_runs_and_meets_its_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    winograd = fused_layer.winograd

    def watched(x: Tensor, *rest: Any, **options: Any) -> Tensor | None:
        y = winograd(x, *rest, **options)
        calls.append(tuple(x.shape) if y is not None else ())
        return y

    for module in (fused_layer, fused_grad):
        monkeypatch.setattr(module, "winograd", watched)
    layer = make_layer(1, 34, 64, 64, 2)
    y, gradients = run(layer, 1, torch.float32, act="linear")
    y64, gradients64 = run(layer, 1, torch.float64, act="linear")
    assert calls == [(2, 64, 34, 34)] * 2  # forward and backward
    assert error(y, y64) < 3e-5
    assert error(gradients[0], gradients64[0]) < 3e-5


def test_rows_of_a_batch_do_not_know_each_other() -> None:
    layer = make_layer(1, 20, 32, 32, 4)
    y, _ = run(layer, 1, torch.float32)
    for i in range(4):
        alone = {n: t[i : i + 1] if n in ("x", "styles", "noise") else t for n, t in layer.items()}
        assert distance(run(alone, 1, torch.float32)[0], y[i : i + 1]) < 1e-6


def test_changed_weights_are_prepared_again() -> None:
    layer = make_layer(1, 16, 32, 32, 1)
    before, _ = run(layer, 1, torch.float32)
    in_place, unseen = (lambda w: w.mul_(-1)), (lambda w: w.data.mul_(0.5).add_(1))
    for change in (in_place, unseen, lambda w: setattr(w, "data", w.data.flip(0))):
        with torch.no_grad():
            change(layer["weight"])
        after, _ = run(layer, 1, torch.float32)
        assert distance(after, run(layer, 1, torch.float64)[0]) < 1e-5
        assert distance(after, before) > 1e-2
        before = after


def test_changes_that_nothing_counts_are_seen_after_forgetting() -> None:
    layer = make_layer(1, 16, 32, 32, 1)
    run(layer, 1, torch.float32)
    layer["weight"].data.view(-1)[1] += 10.0  # one value that the sample does not hold
    forget_prepared()
    after, gradients = run(layer, 1, torch.float32, act="linear")
    expected, expected_gradients = run(layer, 1, torch.float64, act="linear")
    assert distance(after, expected) < 1e-5
    assert distance(gradients[0], expected_gradients[0]) < 1e-5


def test_prepared_weights_die_with_the_weights() -> None:
    from latentedit.cuda_ops import weights

    layer = make_layer(1, 16, 32, 32, 1)
    known = set(weights._entries)
    run(layer, 1, torch.float32)
    assert set(weights._entries) > known
    del layer["weight"]
    assert set(weights._entries) <= known


@pytest.mark.parametrize("size", LAYERS, ids=str)
def test_autocast_chooses_the_dtype_of_activations_alone(size: Any, library: str) -> None:
    """Styles that a layer of bfloat16 made, and a gradient taken outside of autocast, as training loops do."""
    up, pixels, inputs, outputs, images = size
    layer = make_layer(up, pixels, inputs, outputs, images)
    expected, gradients = run(layer, up, torch.bfloat16, act="linear")
    leaves = [layer[name].clone().requires_grad_() for name in ("x", "styles", "noise")]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = styled_conv(
            leaves[0], layer["weight"], leaves[1], bias=layer["bias"], noise=leaves[2], resample_filter=FILTER, up=up,
            act="linear",
        )  # fmt: skip
    seed = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).sin().reshape(y.shape).to(y.dtype)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, expected)
    for gradient, leaf, found in zip(gradients, leaves, torch.autograd.grad(y, leaves, seed), strict=True):
        assert found.dtype == leaf.dtype
        assert distance(found, gradient) < 1e-2


@pytest.mark.parametrize("up", [1, 2])
def test_derivatives_of_any_order(up: int) -> None:
    weight, bias = torch.randn(2, 2, 3, 3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    x, styles, noise = (
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for size in ([2, 2, 3, 2], [2, 2], [2, 1, 3 * up, 2 * up])
    )

    def function(x: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
        return styled_conv(x, weight, styles, bias=bias, noise=noise, resample_filter=FILTER, up=up, clamp=2.0)

    assert torch.autograd.gradcheck(function, (x, styles, noise))
    assert torch.autograd.gradgradcheck(function, (x, styles, noise))


def test_second_derivative_of_the_fused_layer() -> None:
    """Path-length regularisation: float32 through the kernels against float64 through the composition."""
    layer = make_layer(1, 16, 16, 32, 2)

    def penalty(dtype: torch.dtype) -> Tensor:
        styles = layer["styles"].to(dtype).requires_grad_()
        x, noise, weight, bias = (layer[n].to(dtype) for n in ("x", "noise", "weight", "bias"))
        y = styled_conv(x, weight, styles, bias=bias, noise=noise, act="linear")
        (slope,) = torch.autograd.grad(y.square().sum(), styles, create_graph=True)
        return torch.autograd.grad(slope.norm(), styles)[0]

    assert distance(penalty(torch.float32), penalty(torch.float64)) < 1e-4


def test_registration() -> None:
    for up in (1, 2):
        x, styles, noise = torch.randn(2, 32, 4, 4), torch.randn(2, 32), torch.randn(2, 1, 4 * up, 4 * up)
        inputs = (x.requires_grad_(), torch.randn(32, 32, 3, 3), styles.requires_grad_(), noise.requires_grad_())
        spec = (torch.randn(32), FILTER, None, None, up, "lrelu", 0.2, 1.4, 1.0, True)
        opcheck(torch.ops.latentedit.styled_conv.default, (*inputs, *spec))
    image, add = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 3, 8, 8, requires_grad=True)
    opcheck(torch.ops.latentedit.upsample_add.default, (image, FILTER, add))
    opcheck(torch.ops.latentedit.to_image.default, (x.detach().requires_grad_(), torch.randn(2, 3, 32)))


def test_compiles_to_one_graph() -> None:
    layer = make_layer(2, 4, 8, 8, 2)
    styles = layer["styles"].requires_grad_()

    def function(styles: Tensor) -> Tensor:
        y = styled_conv(layer["x"], layer["weight"], styles, bias=layer["bias"], resample_filter=FILTER, up=2)
        return to_image(y, layer["weight"].flatten(1)[None, :3, :8].expand(2, 3, 8).contiguous())

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(styles), function(styles))
    slopes = [torch.autograd.grad(f(styles).square().sum(), styles)[0] for f in (compiled, function)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_upsample_add(dtype: torch.dtype, library: str) -> None:
    image, add = torch.randn(2, 3, 5, 6).to(dtype), torch.randn(2, 3, 10, 12).to(dtype)
    expected = upsample2d(image.double(), FILTER, backend="reference") + add.double()
    assert error(upsample_add(image, FILTER, add), expected) < ROUNDING[dtype]


def test_upsample_add_and_to_image_differentiate() -> None:
    image, add, x, weight = (
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for size in ([1, 2, 3, 3], [1, 2, 6, 6], [2, 4, 3, 2], [2, 3, 4])
    )
    assert torch.autograd.gradcheck(lambda i, a: upsample_add(i, FILTER, a), (image, add))
    assert torch.autograd.gradcheck(to_image, (x, weight))
    assert torch.autograd.gradgradcheck(to_image, (x, weight))
    expected = torch.einsum("nihw,noi->nohw", x, weight)
    torch.testing.assert_close(to_image(x, weight), expected)


def test_epilogue_of_every_activation(library: str) -> None:
    """The plain pass after a convolution, NCHW and channels-last, with the modulation of the next layer."""
    x = torch.randn(2, 12, 5, 8)
    scale, post, bias, noise = torch.rand(2, 12), torch.randn(2, 12), torch.randn(12), torch.randn(1, 1, 5, 8)
    for act in ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"):
        what = Epilogue(scale, noise, bias, act, 0.2, 1.3, 0.9, post)
        biased = x.double() * scale[:, :, None, None] + noise + bias[:, None, None]
        expected = bias_act(biased, act=act, alpha=0.2, gain=1.3, clamp=0.9, backend="reference")
        for layout in (torch.contiguous_format, torch.channels_last):
            y = apply_epilogue(x.to(memory_format=layout), what)
            assert y is not None
            assert error(y, expected * post[:, :, None, None]) < 1e-6


def test_reference_runs_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer(2, 6, 8, 4, 2)
    native, gradients = run(layer, 2, torch.float32)
    monkeypatch.setattr(launch, "find", lambda device: None)
    assert not can_fuse(layer["x"])
    reference, reference_gradients = run(layer, 2, torch.float32)
    assert distance(native, reference) < 1e-5
    for a, b in zip(gradients, reference_gradients, strict=True):
        assert distance(a, b) < 1e-3
