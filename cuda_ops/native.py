"""Loading of the native libraries: at first use, once per process, with a verdict that keeps the full reason."""

from __future__ import annotations

import ctypes
import glob
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from latentedit.cuda_ops.interface import declare
from latentedit.errors import BackendError

if TYPE_CHECKING:
    from latentedit.cuda_ops.build import Target

ABI = 2
"""Version of the C interface that `kernels` speaks; the libraries say theirs."""


@dataclass
class _Verdict:
    library: ctypes.CDLL | None = None
    path: Path | None = None
    error: BackendError | None = None
    warned: bool = False


@dataclass(frozen=True)
class BackendReport:
    """What runs for one kind of device, for `latentedit doctor`.

    Attributes:
        device: "cpu" or "cuda".
        backend: "native", "reference", or "absent" (no such device here).
        detail: the library's path, or why there is none.
        remedy: what to do about it, if anything.
    """

    device: Target
    backend: str
    detail: str
    remedy: str | None = None


_verdicts: dict[Target, _Verdict] = {}
_lock = threading.Lock()
_reference_depth = 0


@contextmanager
def reference_only() -> Iterator[None]:
    """Inside this context everything runs on the PyTorch reference, as if there were no native kernels.

    For comparisons: it holds for the whole process, because backward passes on a GPU run on threads of their own.
    """
    global _reference_depth
    with _lock:
        _reference_depth += 1
    try:
        yield
    finally:
        with _lock:
            _reference_depth -= 1


def build(target: Target) -> Path:
    """The library of ``target``; see `latentedit.cuda_ops.build`, which only runs where something is to be built."""
    from latentedit.cuda_ops.build import build

    return build(target)


def load(target: Target) -> ctypes.CDLL:
    """The library of ``target``, built and loaded at the first call; later calls repeat the first verdict.

    Raises:
        BackendError: it cannot be built or loaded; the text holds the compiler's or the loader's own message.
    """
    verdict = _judge(target)
    if verdict.error is not None:
        raise BackendError(verdict.error.problem, verdict.error.remedy) from verdict.error
    assert verdict.library is not None
    return verdict.library


def find(device: torch.device) -> ctypes.CDLL | None:
    """The library for tensors on ``device``, or None with one warning that says why the reference runs instead."""
    if device.type not in ("cpu", "cuda") or _reference_depth:
        return None
    verdict = _verdicts.get(device.type) or _judge(device.type)  # type: ignore[arg-type]
    if verdict.error is not None and not verdict.warned:
        verdict.warned = True
        warnings.warn(
            f"The PyTorch reference runs instead of the native {device.type} kernels: {verdict.error}",
            RuntimeWarning,
            stacklevel=3,
        )
    return verdict.library


@torch.compiler.assume_constant_result
def require(device_type: str) -> None:
    """Raise `BackendError` unless native kernels for tensors on ``device_type`` can be had."""
    if device_type not in ("cpu", "cuda"):
        raise BackendError(
            f"There are no native kernels for tensors on {device_type!r}.", 'Pass backend="auto" or "reference".'
        )
    load(device_type)  # type: ignore[arg-type]


def backend_report() -> list[BackendReport]:
    """Say for the CPU and the GPUs what runs and why; builds the kernels where that has not been tried yet."""
    reports = [_report("cpu")]
    if torch.cuda.is_available():
        return [*reports, _report("cuda")]
    return [*reports, BackendReport("cuda", "absent", "PyTorch finds no GPU")]


def _report(target: Target) -> BackendReport:
    verdict = _judge(target)
    if verdict.error is not None:
        return BackendReport(target, "reference", verdict.error.problem, verdict.error.remedy)
    return BackendReport(target, "native", str(verdict.path))


def _judge(target: Target) -> _Verdict:
    with _lock:
        if target not in _verdicts:
            _verdicts[target] = _open(target)
        return _verdicts[target]


def _open(target: Target) -> _Verdict:
    try:
        path = build(target)
        library = declare(ctypes.CDLL(str(path)))
        if library.le_abi() != ABI:
            raise OSError(f"it speaks version {library.le_abi()} of the interface, not {ABI}")
    except BackendError as error:
        return _Verdict(error=error)
    except (OSError, AttributeError) as error:
        problem = f"The {target} kernels cannot be loaded: {error}."
        return _Verdict(error=BackendError(problem, "Run python -m latentedit.cuda_ops.build --force."))
    if target == "cpu":
        _share_threads(library)
    return _Verdict(library=library, path=path)


def _share_threads(library: ctypes.CDLL) -> None:
    """Let the kernels run on the OpenMP threads that PyTorch has already: two pools would fight over the cores."""
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    places = [f"{folder}/libgomp*.so*", f"{os.path.dirname(os.path.dirname(folder))}/torch.libs/libgomp*.so*"]
    for path in (path for place in places for path in sorted(glob.glob(place))):
        try:
            start = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
        except (OSError, AttributeError):
            continue
        library.le_use_gomp(ctypes.cast(start, ctypes.c_void_p))
        return
