"""The CUDA sources compile for every architecture without spills, stacks, or local-memory arrays."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from latentedit.cuda_ops import build

ALL = ["75", "80", "86", "89", "90", "100", "120"]
ARCHITECTURES = ALL if os.environ.get("CI") else ["75", "90"]
NVCC = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("source", sorted(build.SOURCES.glob("*.cu")), ids=lambda path: path.name)
def test_resource_report(source: Path, tmp_path: Path) -> None:
    assert NVCC is not None
    generate = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    command = [NVCC, *build.NVCC_FLAGS, *generate, "--threads", "2", "-Xptxas", "-v", "-c", str(source)]
    done = subprocess.run([*command, "-o", str(tmp_path / "o")], capture_output=True, text=True, check=False)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    assert "warning" not in report
    stacks = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(stacks) >= 10 * len(ARCHITECTURES)  # the report was understood
    assert set(stacks) == {("0", "0", "0")}
    assert "cumulative stack size" not in report
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", report)]
    assert max(registers) <= 128  # two blocks of 256 threads fit on every multiprocessor
