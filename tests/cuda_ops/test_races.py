"""Threads share the kernels: a run of them inside ThreadSanitizer (Serebryany & Iskhodzhanov 2009) finds no race."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latentedit.cuda_ops import build

PROGRAM = Path(__file__).with_name("races.py")


@pytest.fixture(scope="module")
def instrumented(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The kernels built with the sanitiser, and its runtime library."""
    if platform.system() != "Linux" or shutil.which("g++") is None or shutil.which("setarch") is None:
        pytest.skip("needs Linux, g++ and setarch")
    runtime = subprocess.run(["g++", "-print-file-name=libtsan.so"], capture_output=True, text=True).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("g++ has no ThreadSanitizer")
    folder = tmp_path_factory.mktemp("tsan")
    flags = [flag for flag in build.CXX_FLAGS if flag != "-O3"]
    flags += ["-O1", "-g", "-fsanitize=thread", "-march=native"]

    def compiled(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        subprocess.run(["g++", *flags, "-c", str(source), "-o", str(target)], check=True, timeout=600)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sorted(build.SOURCES.glob("*.cpp"))))
    library = folder / "kernels.so"
    subprocess.run(["g++", "-shared", "-pthread", "-fsanitize=thread", *objects, "-o", str(library)], check=True)
    return library, runtime


def run(instrumented: tuple[Path, str], task: str) -> subprocess.CompletedProcess[str]:
    library, runtime = instrumented
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "OMP_NUM_THREADS": "1",
        "TSAN_OPTIONS": "exitcode=66 history_size=4 halt_on_error=1",
    }
    command = ["setarch", "-R", sys.executable, str(PROGRAM), str(library), task]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if "unexpected memory mapping" in done.stderr or "personality" in done.stderr:
        pytest.skip("the sanitiser cannot lay out its memory here")
    return done


def test_kernels_in_threads_have_no_race(instrumented: tuple[Path, str]) -> None:
    done = run(instrumented, "work")
    assert "WARNING: ThreadSanitizer" not in done.stderr, done.stderr[:4000]
    assert done.returncode == 0, done.stderr[-2000:]
    assert "finished" in done.stdout


def test_the_sanitiser_sees_two_calls_that_write_into_one_buffer(instrumented: tuple[Path, str]) -> None:
    done = run(instrumented, "collide")
    assert "WARNING: ThreadSanitizer: data race" in done.stderr
    assert "bias_act.cpp" in done.stderr
    assert done.returncode == 66
