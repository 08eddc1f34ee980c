"""Build the native kernels: ninja calls the C++ compiler or nvcc directly, into a cache in the user's home.

``python -m latentedit.cuda_ops.build [cpu] [cuda]`` builds ahead of time (images, CI). Otherwise a library is built at
the first call that wants it. The cache key covers the sources, the compiler's version, the flags, and the CPU or the
GPU architectures; a finished library appears under its final name in one step, and concurrent processes build it once.

Environment: ``LATENTEDIT_CACHE`` (folder), ``LATENTEDIT_CUDA_ARCHS`` (such as ``75;90``), ``CXX``, ``CUDA_HOME``.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentedit import files
from latentedit.cuda_ops import toolchain
from latentedit.errors import BackendError

Target = Literal["cpu", "cuda"]
SOURCES = Path(__file__).resolve().parent / "src"
_PATTERNS: dict[Target, str] = {"cpu": "*.cpp", "cuda": "*.cu"}
CXX_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-fopenmp-simd", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    *("-fvisibility=hidden", "-Wall", "-Wextra"),
)
NVCC_FLAGS = ("-std=c++17", "-O3", "-prec-div=false", "-Xcompiler", "-fPIC,-fvisibility=hidden")


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a library contains.

    Attributes:
        target: "cpu" or "cuda".
        compiler: command of the compiler.
        version: what the compiler says of itself.
        compile_flags: flags of every source file.
        link_flags: flags of the shared library.
        machine: what the code is specialised to: the CPU's features or the GPU architectures.
        sources: files to compile; headers count for the key too.
    """

    target: Target
    compiler: str
    version: str
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    machine: str
    sources: tuple[Path, ...]

    @property
    def library(self) -> Path:
        """Where the finished library lies, or will lie: sources, machine, and compiler are in its name."""
        tools = toolchain.digest(self.compiler, self.version, *self.compile_flags, *self.link_flags)
        return cache_folder() / f"latentedit_{self.target}-{source_key(self.target)}-{self.machine}-{tools}.so"


def source_key(target: Target) -> str:
    """12 hex digits that change with any of the sources of ``target``."""
    sources = sorted({*_files(_PATTERNS[target]), *SOURCES.glob("*.h"), *SOURCES.glob("*.cuh")})
    return toolchain.digest(*(f"{path.name}\0{path.read_text()}" for path in sources))


def cache_folder() -> Path:
    """Folder of the built kernels: ``$LATENTEDIT_CACHE/kernels``, else inside the user's cache folder."""
    return files.cache_folder("kernels")


def plan(target: Target, architectures: Sequence[str] | None = None) -> Plan:
    """Find the compiler and settle the flags.

    Args:
        target: "cpu" or "cuda".
        architectures: compute capabilities such as ``["75", "90"]`` for "cuda"; default: ``LATENTEDIT_CUDA_ARCHS``,
            else those of the GPUs present.

    Raises:
        BackendError: no compiler, or no GPU architecture to compile for.
    """
    if target == "cpu":
        compiler = toolchain.find_compiler()
        flags = (*CXX_FLAGS, "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native")
        version, sources = toolchain.compiler_version(compiler), _files(_PATTERNS["cpu"])
        return Plan("cpu", compiler, version, flags, ("-shared", "-pthread"), toolchain.cpu_key(), sources)
    compiler = toolchain.find_nvcc()
    archs = tuple(architectures or toolchain.architectures())
    generate = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs]
    generate.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")  # newer GPUs translate this one
    return Plan(
        "cuda",
        compiler,
        toolchain.compiler_version(compiler),
        (*NVCC_FLAGS, *generate),
        ("-shared", "--cudart=static"),
        ".".join(archs),
        _files(_PATTERNS["cuda"]),
    )


def build(target: Target, architectures: Sequence[str] | None = None, *, force: bool = False) -> Path:
    """Return the library of ``target``, building it unless the cache has it.

    Safe with many processes at once: one builds while the others wait; a killed build leaves nothing that counts.

    Raises:
        BackendError: no compiler, or the compilation failed; the text holds the compiler's own message.
    """
    try:
        what = plan(target, architectures)
    except BackendError:
        ready = None if force else _built_elsewhere(target)
        if ready is None:
            raise
        return ready
    if what.library.exists() and not force:
        return what.library
    try:
        what.library.parent.mkdir(parents=True, exist_ok=True)
        with _locked(what.library.with_suffix(".lock")):
            if force or not what.library.exists():
                _compile(what)
    except OSError as error:
        raise BackendError(
            f"Kernels cannot be built in {str(what.library.parent)!r}: {error.strerror or error}.",
            "Name a folder that you may write to in LATENTEDIT_CACHE.",
        ) from error
    return what.library


def _built_elsewhere(target: Target) -> Path | None:
    """A library of these very sources for this machine, built ahead of time by a compiler that is gone since."""
    for library in sorted(cache_folder().glob(f"latentedit_{target}-{source_key(target)}-*.so")):
        machine = library.stem.split("-")[2]
        if target == "cpu" and machine == toolchain.cpu_key():
            return library
        if target == "cuda" and toolchain.present() and set(toolchain.present()) <= set(machine.split(".")):
            return library
    return None


def _compile(what: Plan) -> None:
    for stale in what.library.parent.glob(f"build-{what.library.stem}-*"):  # of builds that were killed
        shutil.rmtree(stale, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"build-{what.library.stem}-", dir=what.library.parent)
    try:
        made = Path(folder) / "kernels.so"
        (Path(folder) / "build.ninja").write_text(_ninja_file(what, made.name))
        done = subprocess.run([toolchain.find_ninja(), "-C", folder], capture_output=True, text=True, check=False)
        if done.returncode != 0 or not made.exists():
            raise BackendError(
                f"The {what.target} kernels did not compile with {what.compiler!r}:\n"
                + _compiler_message(done.stdout + done.stderr),
                'Repair or choose another compiler (CXX, CUDA_HOME), or pass backend="reference".',
            )
        os.replace(made, what.library)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ninja_file(what: Plan, product: str) -> str:
    def escape(text: str) -> str:
        return text.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")

    objects = [f"{path.stem}.o" for path in what.sources]
    lines = [
        f"compiler = {what.compiler}",
        "rule compile",
        f"  command = $compiler {' '.join(what.compile_flags)} -c $in -o $out",
        "rule link",
        f"  command = $compiler $in {' '.join(what.link_flags)} -o $out",
        *(f"build {o}: compile {escape(str(path))}" for o, path in zip(objects, what.sources, strict=True)),
        f"build {product}: link {' '.join(objects)}",
    ]
    return "\n".join(lines) + "\n"


def _compiler_message(output: str, limit: int = 4000) -> str:
    """The part of ninja's output from the first failure on, cut to a length that a terminal can show."""
    start = output.find("FAILED:")
    return output[max(start, 0) :].strip()[:limit] or "(the compiler printed nothing)"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock that ends with this process, however it ends; without support for locks, go on."""
    with open(path, "a+b") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass  # builds then happen side by side in folders of their own, and each replaces the library whole
        yield


def _files(pattern: str) -> tuple[Path, ...]:
    found = tuple(sorted(SOURCES.glob(pattern)))
    if not found:
        raise BackendError(f"The kernel sources {pattern} are missing from {str(SOURCES)!r}.", "Reinstall latentedit.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the named targets (default: cpu, and cuda where nvcc is) and say where they lie; 1 on a failure."""
    parser = argparse.ArgumentParser(prog="python -m latentedit.cuda_ops.build", description=main.__doc__)
    parser.add_argument("targets", nargs="*", metavar="cpu|cuda")
    parser.add_argument("--archs", help='such as "75;90" (default: LATENTEDIT_CUDA_ARCHS, else the GPUs present)')
    parser.add_argument("--force", action="store_true", help="build again although the cache has the library")
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - {"cpu", "cuda"}
    if unknown:
        parser.error(f"unknown target {sorted(unknown)[0]!r}; choose cpu, cuda, or both")
    targets: list[Target] = options.targets or ["cpu", *(["cuda"] if toolchain.has_nvcc() else [])]
    failed = 0
    for target in targets:
        begin = time.perf_counter()
        try:
            archs = toolchain.parse_architectures(options.archs) if options.archs else None
            library = build(target, archs, force=options.force)
        except BackendError as error:
            print(f"Error: {error}", file=sys.stderr)
            failed = 1
        else:
            print(f"{target}: {library} ({time.perf_counter() - begin:.1f} s)")
    return failed


if __name__ == "__main__":
    sys.exit(main())
