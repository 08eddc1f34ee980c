"""The build: what its cache depends on, many processes at once, killed builds, and errors that tell the reason."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentedit.cuda_ops import build, native, toolchain
from latentedit.errors import BackendError

COMPILER = """#!/bin/sh
# Stands in for a C++ compiler: says a version, counts its calls, fails or takes long when told, writes its output.
if [ "$1" = --version ]; then cat "$(dirname "$0")/version"; exit 0; fi
echo call >> "$(dirname "$0")/calls"
if [ -e "$(dirname "$0")/broken" ]; then echo "kernel.cpp:7:1: error: no such luck" >&2; exit 1; fi
if [ -e "$(dirname "$0")/slow" ]; then sleep 60; fi
for last in "$@"; do :; done
echo library > "$last"
"""


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stand-in compiler, named in CXX, with a kernel cache of its own."""
    folder = tmp_path / "compiler"
    folder.mkdir()
    program = folder / "c++"
    program.write_text(COMPILER)
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    (folder / "version").write_text("stand-in 1.0\n")
    monkeypatch.setenv("CXX", str(program))
    monkeypatch.setenv("LATENTEDIT_CACHE", str(tmp_path / "cache"))
    return folder


def calls(compiler: Path) -> int:
    return len((compiler / "calls").read_text().splitlines()) if (compiler / "calls").exists() else 0


def left_over() -> list[str]:
    return [path.name for path in build.cache_folder().iterdir() if path.is_dir()]


def test_builds_once_and_leaves_only_the_library(compiler: Path) -> None:
    library = build.build("cpu")
    assert library.read_text() == "library\n"
    assert library.parent == build.cache_folder()
    first = calls(compiler)
    assert first == len(list(build.SOURCES.glob("*.cpp"))) + 1
    assert build.build("cpu") == library
    assert calls(compiler) == first
    assert left_over() == []
    build.build("cpu", force=True)
    assert calls(compiler) == 2 * first


def test_key_follows_compiler_sources_machine_and_architectures(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [build.plan("cpu").library]
    (compiler / "version").write_text("stand-in 2.0\n")
    names.append(build.plan("cpu").library)
    monkeypatch.setattr(toolchain, "cpu_key", lambda: "another")
    names.append(build.plan("cpu").library)
    sources = tmp_path / "src"
    sources.mkdir()
    for path in build.SOURCES.iterdir():
        (sources / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "SOURCES", sources)
    assert build.plan("cpu").library == names[-1]
    (sources / "activation.h").write_text((sources / "activation.h").read_text() + "// changed\n")
    names.append(build.plan("cpu").library)
    monkeypatch.setattr(toolchain, "find_nvcc", lambda: str(compiler / "c++"))
    names += [build.plan("cuda", ["75"]).library, build.plan("cuda", ["75", "90"]).library]
    assert len(set(names)) == len(names)


def test_eight_processes_at_once_build_once(compiler: Path) -> None:
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            try:
                status = int(build.build("cpu").read_text() != "library\n")
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert calls(compiler) == len(list(build.SOURCES.glob("*.cpp"))) + 1
    assert left_over() == []


def test_killed_build_does_no_harm(compiler: Path) -> None:
    (compiler / "slow").touch()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        build.build("cpu")
        os._exit(0)
    deadline = time.monotonic() + 60
    while not calls(compiler) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_over() != []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not list(build.cache_folder().glob("*.so"))
    (compiler / "slow").unlink()
    begin = time.monotonic()
    assert build.build("cpu").read_text() == "library\n"
    assert time.monotonic() - begin < 30  # the dead process holds no lock
    assert left_over() == []
    os.killpg(child, signal.SIGKILL)  # the compilers that the dead process had started


def test_failure_tells_what_the_compiler_said(compiler: Path) -> None:
    (compiler / "broken").touch()
    with pytest.raises(BackendError, match=r"kernel.cpp:7:1: error: no such luck") as failure:
        build.build("cpu")
    assert "The cpu kernels did not compile with" in str(failure.value)
    assert 'pass backend="reference"' in str(failure.value)
    assert left_over() == []
    (compiler / "broken").unlink()
    assert build.build("cpu").exists()


def test_without_a_compiler_a_ready_library_serves(compiler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(BackendError, match=r"No C\+\+ compiler was found .*apt-get install g\+\+"):
        build.build("cpu")
    monkeypatch.undo()
    monkeypatch.setenv("CXX", str(compiler / "c++"))
    monkeypatch.setenv("LATENTEDIT_CACHE", str(compiler.parent / "cache"))
    library = build.build("cpu")
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    assert build.build("cpu") == library
    monkeypatch.setattr(toolchain, "cpu_key", lambda: "another")
    with pytest.raises(BackendError, match=r"No C\+\+ compiler"):
        build.build("cpu")


def test_ready_gpu_library_serves_the_gpus_it_was_built_for(compiler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_nvcc", lambda: str(compiler / "c++"))
    library = build.build("cuda", ["75", "90"])

    def missing() -> str:
        raise BackendError("No CUDA compiler.")

    monkeypatch.setattr(toolchain, "find_nvcc", missing)
    for present, found in ((["90"], True), (["75", "90"], True), (["80"], False), ([], False)):
        monkeypatch.setattr(toolchain, "present", lambda present=present: present)
        if found:
            assert build.build("cuda") == library
        else:
            with pytest.raises(BackendError, match="No CUDA compiler"):
                build.build("cuda")


@pytest.mark.parametrize(
    ("value", "expected"), [("75;90", ("75", "90")), ("9.0, sm_75", ("75", "90")), ("90a 80", ("80", "90a"))]
)
def test_architectures_by_environment(
    value: str, expected: tuple[str, ...], compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "find_nvcc", lambda: str(compiler / "c++"))
    monkeypatch.setenv("LATENTEDIT_CUDA_ARCHS", value)
    assert toolchain.architectures() == expected
    assert build.plan("cuda").machine == ".".join(expected)


def test_architectures_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTEDIT_CUDA_ARCHS", "hopper")
    with pytest.raises(BackendError, match="'hopper' is no GPU architecture"):
        toolchain.architectures()
    monkeypatch.setenv("LATENTEDIT_CUDA_ARCHS", "")
    monkeypatch.setattr(toolchain, "present", list)
    with pytest.raises(BackendError, match=r"no GPU to compile for\. Set LATENTEDIT_CUDA_ARCHS"):
        toolchain.architectures()


def test_cache_that_cannot_be_written(compiler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (compiler.parent / "file").touch()
    monkeypatch.setenv("LATENTEDIT_CACHE", str(compiler.parent / "file"))
    with pytest.raises(BackendError, match=r"cannot be built in .* Name a folder .* in LATENTEDIT_CACHE"):
        build.build("cpu")


def test_command(compiler: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["cpu"]) == 0
    assert str(build.cache_folder()) in capsys.readouterr().out
    (compiler / "broken").touch()
    assert build.main(["cpu", "--force"]) == 1
    assert "no such luck" in capsys.readouterr().err
    assert build.main(["cuda", "--archs", "pascal"]) == 1
    assert "'pascal' is no GPU architecture" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        build.main(["tpu"])
    assert refused.value.code == 2


def test_importing_compiles_and_loads_nothing(tmp_path: Path) -> None:
    code = "import latentedit.cuda_ops as ops, torch; assert not ops.native._verdicts; print('quiet')"
    environment = os.environ | {"LATENTEDIT_CACHE": str(tmp_path), "CXX": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("quiet\n", 0), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_real_library_speaks_the_interface(tmp_path: Path) -> None:
    library = ctypes.CDLL(str(build.build("cpu")))
    assert library.le_abi() == native.ABI
