"""Libraries under test, and poisoned output buffers."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from typing import Any

import pytest
import torch

from latentedit.cuda_ops import build, interface, kernels


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers for results start as NaN, so that an element that no kernel writes is seen."""

    def poison(make: Any) -> Any:
        def poisoned(*args: Any, **kwargs: Any) -> torch.Tensor:
            made = make(*args, **kwargs)
            return made.fill_(float("nan")) if made.is_floating_point() and made.device.type != "meta" else made

        return poisoned

    class Poisoned:
        """`torch` as the calls into the libraries see it."""

        empty = staticmethod(poison(torch.empty))
        empty_like = staticmethod(poison(torch.empty_like))

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    monkeypatch.setattr(kernels, "torch", Poisoned())


@pytest.fixture(scope="session")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The CUDA sources compiled as plain C++: the same kernels, their threads run one after another."""
    compiler = shutil.which("c++") or shutil.which("g++") or pytest.fail("the tests need a C++ compiler")
    path = tmp_path_factory.mktemp("emulation") / "cuda.so"
    sources = sorted(build.SOURCES.glob("*.cu"))
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        [compiler, *flags, "-Wno-unknown-pragmas", "-x", "c++", *map(str, sources), "-o", str(path)], check=True
    )
    return interface.declare(ctypes.CDLL(str(path)))


@pytest.fixture(params=["cpu", "cuda emulated"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the operations with the CPU's kernels, then with the CUDA kernels in emulation."""
    if request.param != "cpu":
        emulated = request.getfixturevalue("emulation")
        monkeypatch.setattr(kernels, "find", lambda device: emulated)
        monkeypatch.setattr(kernels, "_DTYPES", {k: v for k, v in kernels._DTYPES.items() if k != torch.float64})
    return request.param
