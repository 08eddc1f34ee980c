"""The import contract of pyproject.toml: downwards only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def layout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is installed, with ``cuda_ops/`` and ``directions/`` in their places."""
    folder = tmp_path_factory.mktemp("layout")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=120)
    return folder


def lint(root: Path, layout: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", str(root / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": str(layout)}
    return subprocess.run(command, cwd=layout, env=environment, capture_output=True, text=True, timeout=120)


def test_imports_go_downwards_only(root: Path, layout: Path) -> None:
    done = lint(root, layout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Imports go downwards only KEPT" in done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("latentedit/cuda_ops/filters.py", "import latentedit.networks"),
        ("latentedit/networks/config.py", "from latentedit.faces import align"),
        ("latentedit/images.py", "def late():\n    import latentedit.cli"),
    ],
)
def test_contract_sees_an_import_that_goes_upwards(
    root: Path, layout: Path, tmp_path: Path, module: str, line: str
) -> None:
    shutil.copytree(layout, tmp_path, dirs_exist_ok=True)
    with (tmp_path / module).open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint(root, tmp_path)
    assert done.returncode == 1
    assert "Imports go downwards only BROKEN" in done.stdout
