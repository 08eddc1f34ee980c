"""What the build finds on the machine: compilers, ninja, the CPU, and the GPUs and architectures to compile for."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from latentedit.errors import BackendError


def find_compiler() -> str:
    for name in filter(None, [os.environ.get("CXX"), "c++", "g++", "clang++"]):
        if shutil.which(name):
            return name
    raise BackendError(
        "No C++ compiler was found (c++, g++, clang++).", "Install one (apt-get install g++) or name it in CXX."
    )


def find_nvcc() -> str:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    for candidate in [*(f"{home}/bin/nvcc" for home in homes if home), "nvcc", "/usr/local/cuda/bin/nvcc"]:
        found = shutil.which(candidate)
        if found:
            return found
    raise BackendError("No CUDA compiler (nvcc) was found.", "Install the CUDA toolkit or name it in CUDA_HOME.")


def has_nvcc() -> bool:
    try:
        return bool(find_nvcc())
    except BackendError:
        return False


def find_ninja() -> str:
    beside = Path(sys.executable).with_name("ninja")
    found = str(beside) if beside.exists() else shutil.which("ninja")
    if found is None:
        raise BackendError("ninja was not found.", "Install it: pip install ninja.")
    return found


def compiler_version(compiler: str) -> str:
    try:
        done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise BackendError(f"{compiler!r} cannot be run: {error.strerror}.", "Name another compiler.") from error
    return done.stdout.strip()


def cpu_key() -> str:
    """What ``-march=native`` depends on: a cache in a shared home may serve machines with different CPUs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return digest(platform.machine(), platform.processor())
    wanted = ("flags", "Features", "model", "cpu family", "CPU part")
    facts = {line.split(":", 1)[0].strip(): line for line in lines if line.split(":", 1)[0].strip() in wanted}
    return digest(platform.machine(), *facts.values())


def architectures() -> tuple[str, ...]:
    """What to compile for: ``LATENTEDIT_CUDA_ARCHS``, else the GPUs of this machine, such as ("75", "90").

    Raises:
        BackendError: neither is there, or the variable names no architectures.
    """
    found = parse_architectures(os.environ.get("LATENTEDIT_CUDA_ARCHS", "")) or tuple(present())
    if not found:
        raise BackendError("There is no GPU to compile for.", 'Set LATENTEDIT_CUDA_ARCHS, such as "75;90".')
    return found


def parse_architectures(text: str) -> tuple[str, ...]:
    """("75", "90") of "75;90", "9.0, sm_75" and the like, in ascending order.

    Raises:
        BackendError: a word that is no architecture.
    """
    found = {word.replace(".", "").removeprefix("sm_") for word in re.split(r"[;,\s]+", text) if word}
    bad = sorted(a for a in found if not re.fullmatch(r"\d+[af]?", a))
    if bad:
        raise BackendError(f"{bad[0]!r} is no GPU architecture.", 'Write LATENTEDIT_CUDA_ARCHS as in "75;90".')
    return tuple(sorted(found, key=lambda a: int(a.rstrip("af"))))


def present() -> list[str]:
    """Compute capabilities of the GPUs of this machine, such as ["75", "90"]."""
    import torch

    capabilities = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    return [f"{major}{minor}" for major, minor in sorted(capabilities)]


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
