"""Conversions of 16-bit numbers for compilers without _Float16, against NumPy's, over every value."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import torch

from latentedit.cuda_ops import build

PROGRAM = """
#include "half.h"
using namespace latentedit;
extern "C" void widen(const float16* x, float* y, int n) { for (int i = 0; i < n; ++i) y[i] = load(x[i]); }
extern "C" void narrow(const float* x, float16* y, int n) { for (int i = 0; i < n; ++i) store(y[i], x[i]); }
extern "C" void narrow_b(const float* x, bfloat16* y, int n) { for (int i = 0; i < n; ++i) store(y[i], x[i]); }
"""


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("half")
    (folder / "half.cpp").write_text(PROGRAM)
    compiler = shutil.which("c++") or shutil.which("g++") or pytest.fail("the tests need a C++ compiler")
    flags = ["-std=c++17", "-O3", "-shared", "-fPIC", "-DLE_SOFT_HALF", f"-I{build.SOURCES}"]
    subprocess.run([compiler, *flags, str(folder / "half.cpp"), "-o", str(folder / "half.so")], check=True)
    return ctypes.CDLL(str(folder / "half.so"))


def address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def test_every_half_becomes_its_float(conversions: ctypes.CDLL) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    floats = np.empty(1 << 16, dtype=np.float32)
    conversions.widen(address(halves), address(floats), len(halves))
    np.testing.assert_array_equal(floats, halves.astype(np.float32))


def test_floats_round_to_the_nearest_half(conversions: ctypes.CDLL) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = halves[np.isfinite(halves)]
    between = (np.sort(finite)[1:] + np.sort(finite)[:-1]) / 2  # ties
    near = np.concatenate([np.nextafter(between, np.float32(np.inf)), np.nextafter(between, np.float32(-np.inf))])
    edges = np.array([65519, 65520, 65536, 1e9, np.inf, -np.inf, np.nan, 1e-8, -1e-8, 0.0, -0.0], dtype=np.float32)
    floats = np.concatenate([halves, between, near, edges]).astype(np.float32)
    found = np.empty(len(floats), dtype=np.uint16)
    conversions.narrow(address(floats), address(found), len(floats))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.view(np.float16), floats.astype(np.float16))
    signs = ~np.isnan(floats)
    assert np.array_equal(found[signs] >> 15, np.signbit(floats[signs]))


def test_floats_round_to_the_nearest_bfloat(conversions: ctypes.CDLL) -> None:
    floats = np.random.RandomState(0).randint(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    found = np.empty(len(floats), dtype=np.uint16)
    conversions.narrow_b(address(floats), address(found), len(floats))
    expected = torch.from_numpy(floats).to(torch.bfloat16)
    found_torch = torch.from_numpy(found.view(np.int16)).view(torch.bfloat16)
    assert torch.equal(found_torch.nan_to_num(0.5), expected.nan_to_num(0.5))
