"""Libraries under test, and guarded output buffers."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from latentedit.cuda_ops import build, interface, launch

MARGIN = 256  # bytes
SENTINEL = 0xA5


@pytest.fixture(autouse=True)
def _guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Buffers for results start as NaN, so that an element that no kernel writes is seen, and lie between margins that
    no kernel may touch. Random inputs are the same in whatever order tests run: a kink within the step of a finite
    difference would fail a right gradient.
    """
    torch.manual_seed(0)
    made: list[np.ndarray] = []
    empty = launch.empty

    def guarded(*args: Any, **options: Any) -> torch.Tensor:
        buffer = empty(*args, **options)
        if buffer.device.type != "cpu":
            return buffer
        size = buffer.numel() * buffer.element_size()
        memory = np.full(size + 2 * MARGIN, SENTINEL, dtype=np.uint8)
        made.append(memory)
        inner = torch.from_numpy(memory[MARGIN : MARGIN + size]).view(buffer.dtype).fill_(float("nan"))
        return inner.as_strided(buffer.shape, buffer.stride())

    monkeypatch.setattr(launch, "empty", guarded)
    yield
    for memory in made:
        assert (memory[:MARGIN] == SENTINEL).all(), "a kernel wrote before its buffer"
        assert (memory[len(memory) - MARGIN :] == SENTINEL).all(), "a kernel wrote behind its buffer"


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
        monkeypatch.setattr(launch, "find", lambda device: emulated)
        monkeypatch.setattr(launch, "DTYPES", {k: v for k, v in launch.DTYPES.items() if k != torch.float64})
    return request.param
