"""Loading: one verdict per process, one warning, the full reason, and what `doctor` reports."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from latentedit.cuda_ops import backend_report, bias_act, native, setup_filter, upfirdn2d
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


def test_reference_only_holds_until_its_end() -> None:
    with native.reference_only(), native.reference_only():
        assert native.find(CPU) is None
    assert native.find(CPU) is native.load("cpu")
