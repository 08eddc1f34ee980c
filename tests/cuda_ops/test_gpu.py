"""On a machine with a GPU: the kernels build, and agree with the reference. There they fail rather than skip."""

from __future__ import annotations

import pytest
import torch
from kernel_vectors import DTYPES, LAYOUTS, TOLERANCE, error, golden_arrays, golden_cases

from latentedit.cuda_ops import bias_act, native, setup_filter, styled_conv, upfirdn2d
from latentedit.cuda_ops.activation_reference import ACTIVATIONS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")]
FILTER = setup_filter([1, 3, 3, 1])


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_kernels_build() -> None:
    native.load("cuda")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["nchw", "channels_last"])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bias_act(act: str, layout: torch.memory_format, dtype: torch.dtype) -> None:
    x, b = torch.randn(2, 24, 65, 33).to(dtype).to(memory_format=layout), torch.randn(24).to(dtype)
    y = bias_act(x.cuda(), b.cuda(), act=act, clamp=2, backend="native")
    expected = bias_act(x.double(), b.double(), act=act, clamp=2, backend="reference")
    assert error(y.cpu(), expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", golden_cases("upfirdn2d"))
def test_upfirdn2d(case: dict, dtype: torch.dtype) -> None:
    golden = golden_arrays("upfirdn2d", case["key"])
    f = None if case["filter_taps"] is None else setup_filter(case["filter_taps"], device="cuda")
    arguments = {name: case[name] for name in ("up", "down", "padding", "flip_filter", "gain")}
    for layout in LAYOUTS:
        x = golden["x"].to(dtype).to(memory_format=layout).cuda()
        assert error(upfirdn2d(x, f, **arguments, backend="native").cpu(), golden["y"]) < TOLERANCE[dtype]


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_and_its_gradient(dtype: torch.dtype, up: int) -> None:
    x, styles = torch.randn(2, 32, 24, 24), torch.randn(2, 32)
    weight, bias, noise = torch.randn(16, 32, 3, 3), torch.randn(16), torch.randn(2, 1, 24 * up, 24 * up)

    def run(device: str, dtype: torch.dtype) -> list[torch.Tensor]:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        leaves = [t.to(device, kind).requires_grad_() for t, kind in ((x, dtype), (styles, wide), (noise, wide))]
        constants = [t.to(device, wide) for t in (weight, bias)]
        y = styled_conv(
            leaves[0], constants[0], leaves[1], bias=constants[1], noise=leaves[2], resample_filter=FILTER.to(device),
            up=up, act="linear",
        )  # fmt: skip
        return [y, *torch.autograd.grad(y.double().square().sum(), leaves)]

    for value, expected in zip(run("cuda", dtype), run("cpu", torch.float64), strict=True):
        distance = (value.cpu().double() - expected).norm() / expected.norm()
        assert distance < {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]
