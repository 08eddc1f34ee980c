"""Loading: one verdict per process, one warning, the full reason, and what `doctor` reports."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from kernel_vectors import DTYPES, TOLERANCE, error

from latentedit.cuda_ops import (
    backend_report,
    bias_act,
    build,
    interface,
    launch,
    native,
    setup_filter,
    styled_conv,
    upfirdn2d,
)
from latentedit.errors import BackendError

CPU = torch.device("cpu")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A build that fails, and the list of its attempts."""
    attempts: list[str] = []

    def fail(target: str) -> Path:
        attempts.append(target)
        raise BackendError("The cpu kernels did not compile: x.cpp:1: error: why", "Repair it.")

    monkeypatch.setattr(native, "build", fail)
    monkeypatch.setattr(native, "_verdicts", {})
    return attempts


def test_auto_falls_back_with_one_warning_and_one_attempt(broken: list[str]) -> None:
    x = torch.randn(2, 3, 4, 4)
    with pytest.warns(RuntimeWarning, match=r"reference runs instead of the native cpu kernels: .*error: why"):
        y = bias_act(x, act="lrelu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        upfirdn2d(x, setup_filter([1, 2, 1]))
        bias_act(x, act="swish")
    assert broken == ["cpu"]
    torch.testing.assert_close(y, bias_act(x, act="lrelu", backend="reference"))


def test_native_raises_with_the_full_reason(broken: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(BackendError, match=r"error: why Repair it\."):
            bias_act(torch.zeros(1, 1), act="relu", backend="native")
    with pytest.raises(BackendError, match="error: why"):
        upfirdn2d(torch.zeros(1, 1, 4, 4), None, backend="native")
    assert broken == ["cpu"]


def test_reference_asks_for_no_library(broken: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bias_act(torch.zeros(1, 1), act="relu", backend="reference")
        upfirdn2d(torch.zeros(1, 1, 4, 4), None, backend="reference")
    assert broken == []


def test_devices_without_kernels() -> None:
    with pytest.raises(BackendError, match=r"no native kernels for tensors on 'meta'.*backend=\"auto\""):
        bias_act(torch.zeros(1, 1, device="meta"), act="relu", backend="native")
    assert bias_act(torch.zeros(2, 1, device="meta"), act="relu").shape == (2, 1)
    assert native.find(torch.device("meta")) is None


def test_library_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kernels.so").write_text("not a library")
    monkeypatch.setattr(native, "build", lambda target: tmp_path / "kernels.so")
    monkeypatch.setattr(native, "_verdicts", {})
    with pytest.raises(BackendError, match=r"cannot be loaded: .*Run python -m latentedit\.cuda_ops\.build --force"):
        native.load("cpu")


def test_report_of_what_runs() -> None:
    cpu, cuda = backend_report()
    assert (cpu.device, cpu.backend, cpu.remedy) == ("cpu", "native", None)
    assert Path(cpu.detail).exists()
    assert cuda.device == "cuda"
    assert cuda.backend in ("native", "absent"), cuda.detail


def test_report_of_a_failure(broken: list[str]) -> None:
    cpu = backend_report()[0]
    assert cpu.backend == "reference"
    assert "error: why" in cpu.detail
    assert cpu.remedy == "Repair it."


def test_threads_give_the_same_result() -> None:
    x, threads = torch.randn(2, 16, 33, 35), torch.get_num_threads()
    f = setup_filter([1, 3, 3, 1])
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(upfirdn2d(bias_act(x, act="swish"), f, up=2, padding=1))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_threads_without_an_openmp_runtime() -> None:
    """The library's own threads, in a library of its own, give what PyTorch's threads give."""
    library = native.load("cpu")
    x = torch.randn(1, 8, 64, 64)
    expected = bias_act(x, act="lrelu", backend="reference")
    library.le_use_gomp(None)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert torch.allclose(bias_act(x, act="lrelu"), expected)
    finally:
        torch.set_num_threads(threads)
        native._share_threads(library)


def test_kernels_of_a_processor_without_extensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources rely on no flag of this machine: narrow vectors, and conversions of 16-bit numbers in software."""
    compiler = shutil.which("c++") or shutil.which("g++") or pytest.fail("the tests need a C++ compiler")
    sources = map(str, sorted(build.SOURCES.glob("*.cpp")))
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-pthread", "-fopenmp-simd", "-DLE_SOFT_HALF"]
    subprocess.run([compiler, *flags, *sources, "-o", str(tmp_path / "plain.so")], check=True)
    plain = interface.declare(ctypes.CDLL(str(tmp_path / "plain.so")))
    monkeypatch.setattr(launch, "find", lambda device: plain)
    f = setup_filter([1, 3, 3, 1])
    shapes: list[dict[str, Any]] = [{"up": 2, "padding": 2}, {"down": 2, "padding": 1}, {"padding": [2, 1, 1, 1]}]
    for dtype in DTYPES:
        x = torch.randn(2, 16, 9, 20).to(dtype).to(memory_format=torch.channels_last)
        assert (
            error(bias_act(x, act="swish"), bias_act(x.double(), act="swish", backend="reference")) < TOLERANCE[dtype]
        )
        for resample in shapes:
            expected = upfirdn2d(x.double(), f, **resample, backend="reference")
            assert error(upfirdn2d(x, f, **resample), expected) < TOLERANCE[dtype]
    x, weight = torch.randn(1, 16, 20, 20), torch.nn.Parameter(torch.randn(16, 16, 3, 3), requires_grad=False)
    y = styled_conv(x, weight, torch.ones(1, 16), bias=torch.zeros(16))  # Winograd
    weight64 = weight.detach().double()
    assert error(y, styled_conv(x.double(), weight64, torch.ones(1, 16).double(), bias=torch.zeros(16).double())) < 3e-5


def test_reference_only_holds_until_its_end() -> None:
    with native.reference_only(), native.reference_only():
        assert native.find(CPU) is None
    assert native.find(CPU) is native.load("cpu")
