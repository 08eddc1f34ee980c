"""Imports go downwards only: the contract of pyproject.toml between folders, and no circle inside one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import Package, circles


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


def test_no_circle_of_imports_inside_a_folder(layout: Path) -> None:
    """Imports inside functions count: they only hide a circle."""
    assert circles(Package(layout).graph()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("latentedit/codes/delta.py", "from latentedit.codes.code import Code"),
        ("latentedit/codes/delta.py", "def late():\n    from latentedit.codes import Code"),
        ("latentedit/inversion/config.py", "def late():\n    from latentedit.inversion import invert"),
        ("latentedit/inversion/config.py", "from latentedit.inversion.methods import encoder"),
        ("latentedit/inversion/problem.py", "import latentedit.inversion.methods.table"),
    ],
)
def test_circles_are_seen_where_they_hide(layout: Path, tmp_path: Path, module: str, line: str) -> None:
    shutil.copytree(layout, tmp_path, dirs_exist_ok=True)
    with (tmp_path / module).open("a") as stream:
        stream.write(f"\n{line}\n")
    name = module.removesuffix(".py").replace("/", ".")
    assert any(name in circle for circle in circles(Package(tmp_path).graph()))


def test_imports_for_type_checkers_make_no_circle(layout: Path, tmp_path: Path) -> None:
    shutil.copytree(layout, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "latentedit/codes/delta.py").open("a") as stream:
        stream.write("\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from latentedit.codes import Code\n")
    assert circles(Package(tmp_path).graph()) == []
