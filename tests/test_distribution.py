"""The sdist builds a wheel, the wheel holds everything, and an empty environment with it edits a photo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

LEAVE_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "demo", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)
ASSETS_LIMIT = 40_000_000  # bytes; heads of ffhq are 6.5 million


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LATENTEDIT"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def archives(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of a copy of the project, and the wheel built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    shutil.copytree(root, source, ignore=LEAVE_OUT)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def expected_sources(root: Path) -> set[str]:
    """Where the files of the package folders belong in the wheel."""
    places = {
        "latentedit": "latentedit",
        "cuda_ops": "latentedit/cuda_ops",
        "directions": "latentedit/assets/directions",
    }
    found = set()
    for folder, place in places.items():
        for path in (root / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                found.add(f"{place}/{path.relative_to(root / folder).as_posix()}")
    return found


def test_wheel_holds_every_file_of_the_package(root: Path, archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = {Path(name).name for name in wheel.namelist() if ".dist-info/" in name}
    assert names == expected_sources(root)
    assert {"LICENSE", "METADATA", "entry_points.txt"} <= metadata
    kinds = {Path(name).suffix for name in names if name.startswith("latentedit/cuda_ops/")}
    assert {".py", ".cu", ".cpp"} <= kinds
    assert any(name.startswith("latentedit/assets/directions/") and name.endswith(".safetensors") for name in names)
    assert "latentedit/assets/faces64/generator.safetensors" in names
    assert "latentedit/assets/faces64/MODEL_CARD.md" in names


def test_wheel_is_small_and_for_every_platform(archives: tuple[Path, Path]) -> None:
    wheel = archives[1]
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assets = [info.file_size for info in archive.infolist() if info.filename.startswith("latentedit/assets/")]
    assert sum(assets) < ASSETS_LIMIT


def test_sdist_holds_what_make_test_needs(root: Path, archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    needed = {
        path.relative_to(root).as_posix()
        for folder in ("tests", "scripts", "notebooks", "docs", ".ci")
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    needed |= {"Makefile", "constraints.txt", "pyproject.toml", "setup.py", "README.md", "CONTRIBUTING.md"}
    needed |= {"CHANGELOG.md", "LICENSE", ".pre-commit-config.yaml"}
    assert needed - names == set()


@pytest.fixture(scope="module")
def environment(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel; what the package requires is borrowed from the running environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", archives[1], cwd=folder
    )  # fmt: skip
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return folder


def test_installed_package_is_the_wheel(environment: Path, tmp_path: Path) -> None:
    code = (
        "import latentedit, latentedit.cuda_ops, latentedit.assets.directions as d, importlib.metadata as m;"
        "print(latentedit.__file__, latentedit.cuda_ops.__file__, d.__file__, m.distribution('latentedit')._path)"
    )
    places = run(environment / "bin" / "python", "-c", code, cwd=tmp_path).stdout.split()
    assert len(places) == 4
    assert all(place.startswith(str(environment)) for place in places), places


def test_doctor_finds_nothing_missing(environment: Path, tmp_path: Path) -> None:
    done = run(environment / "bin" / "latentedit", "doctor", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["ok"] is True
    found = {check["name"]: check["found"] for check in report["checks"]}
    assert str(environment) in found["latentedit"]


def test_one_edit(environment: Path, tmp_path: Path) -> None:
    (portrait,) = (environment / "lib").glob("python*/site-packages/latentedit/assets/photos/portrait_a.jpg")
    arguments = ["edit", portrait, "--age", "+15", "--smile", "0.9", "--method", "encoder", "-o", "out.png"]
    run(environment / "bin" / "latentedit", *arguments, cwd=tmp_path, LATENTEDIT_HOME=str(tmp_path / "home"))
    with Image.open(tmp_path / "out.png") as result, Image.open(portrait) as photo:
        assert result.size == photo.size
        assert result.convert("RGB").tobytes() != photo.convert("RGB").tobytes()
