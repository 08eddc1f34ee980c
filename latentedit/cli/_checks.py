"""What `latentedit doctor` looks at. Each check says what was found and, where something is amiss, the remedy."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from latentedit import __version__
from latentedit.errors import LatentEditError

_DLIB_FILES = {
    "landmarks": "shape_predictor_68_face_landmarks.dat",
    "detector of masked faces": "mmod_human_face_detector.dat",
}
Status = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Check:
    """One finding: ``missing`` breaks commands, a ``note`` could be better, ``remedy`` tells what to do."""

    section: str
    name: str
    status: Status
    found: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        return asdict(self)


def examine() -> Iterator[Check]:
    """All checks, in the order in which they are shown; a check that fails itself is a finding, not a crash."""
    for section, check in _SECTIONS.items():
        try:
            yield from check()
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            yield Check(section, section.lower(), "missing", what, "Reinstall latentedit; see the lines above first.")


def _installation() -> Iterator[Check]:
    place = Path(__file__).parents[1]
    yield Check("Installation", "latentedit", "ok", f"{__version__} in {place}")
    yield Check("Installation", "Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for requirement in _requirements():
        yield _installed(requirement)


def _installed(requirement: Requirement) -> Check:
    remedy = f'Run: pip install "{requirement}"'
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check("Installation", requirement.name, "missing", "not installed", remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        found = f"{version}, but latentedit needs {requirement.specifier}"
        return Check("Installation", requirement.name, "missing", found, remedy)
    return Check("Installation", requirement.name, "ok", version)


def _requirements() -> list[Requirement]:
    """What latentedit needs without extras; dlib, which comes under several names, has a check of its own."""
    try:
        required = [Requirement(line) for line in metadata.requires("latentedit") or []]
    except metadata.PackageNotFoundError:  # a plain source tree on sys.path
        return []
    return [
        one for one in required if one.name != "dlib-bin" and (one.marker is None or one.marker.evaluate({"extra": ""}))
    ]


def _devices() -> Iterator[Check]:
    import torch

    yield Check("Devices", "cpu", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used by PyTorch")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            what = torch.cuda.get_device_properties(index)
            memory = f"{what.total_memory / 2**30:.0f} GiB"
            found = f"{what.name}, {memory}, sm_{what.major}{what.minor}, CUDA {torch.version.cuda}"
            yield Check("Devices", f"cuda:{index}", "ok", found)
    elif torch.version.cuda is None:
        yield Check("Devices", "cuda", "note", "this PyTorch is built without CUDA; the CPU is used")
    else:
        yield Check("Devices", "cuda", "note", "no GPU that PyTorch can use; the CPU is used")


def _kernels() -> Iterator[Check]:
    from latentedit.cuda_ops.native import backend_report

    for report in backend_report():
        status = "ok" if report.backend == "native" else "note"
        yield Check("Kernels", report.device, status, f"{report.backend}: {report.detail}", report.remedy)


def _packaged_model() -> Iterator[Check]:
    """The model whose generator comes with another package."""
    from latentedit.models.folder import verify_folder
    from latentedit.models.locations import PACKAGED, bundled_folder, is_complete, packaged_weights

    place = packaged_weights()
    if place is None:
        remedy = f"Run: latentedit model download {PACKAGED} (38 MB, research and non-commercial use)"
        yield Check("Model", PACKAGED, "note", "its weights are not here; the smaller faces of faces64 serve", remedy)
        return
    try:
        verify_folder(bundled_folder(PACKAGED))
    except LatentEditError as error:
        yield Check("Model", PACKAGED, "missing", error.problem, "Reinstall latentedit: these parts belong to it.")
        return
    lacks = "" if is_complete() else "; no encoder or directions of its own yet"
    yield Check("Model", PACKAGED, "ok", f"1024 px, weights in {place}{lacks}")


def _model() -> Iterator[Check]:
    from latentedit.models.locations import default_model

    yield from _packaged_model()
    yield from _embedded_model()
    yield Check("Model", "default", "ok", default_model())


def _embedded_model() -> Iterator[Check]:
    from latentedit.models.folder import PARTS, read_manifest, verify_folder
    from latentedit.models.locations import embedded_folder, models_folder, shipped_directions

    folder = embedded_folder()
    reinstall = "Reinstall latentedit: the model is part of the package."
    try:
        manifest = read_manifest(folder)
        verify_folder(folder)
    except LatentEditError as error:
        yield Check("Model", folder.name, "missing", error.problem, reinstall)
        return
    parts = [part for part in PARTS if (folder / f"{part}.safetensors").is_file()]
    found = f"{manifest['resolution']} px, {', '.join(parts)}; hashes agree; generator {manifest['fingerprint']}"
    yield Check("Model", folder.name, "ok", found)
    for part in PARTS:
        if part not in parts and part != "heads":
            yield Check("Model", part, "missing", f"the embedded model has no {part}", reinstall)
    place = shipped_directions()
    names = sorted(path.stem for path in place.glob("*.safetensors")) if place else []
    if names:
        yield Check("Model", "directions", "ok", ", ".join(names))
    else:
        yield Check("Model", "directions", "missing", "no direction is installed", reinstall)
    own = models_folder()
    registered = sorted(path.parent.name for path in own.glob("*/model.json")) if own.is_dir() else []
    yield Check("Model", "own models", "ok", f"{', '.join(registered) or 'none'} (in {own})")


def _faces() -> Iterator[Check]:
    from latentedit.faces.dlib_models import model_file

    try:
        yield Check("Faces", "dlib", "ok", str(import_module("dlib").__version__))
    except ImportError:
        remedy = "Run: pip install dlib-bin (nothing is compiled); a dlib that you compiled yourself serves as well"
        yield Check("Faces", "dlib", "missing", "not installed: photos cannot be searched for faces", remedy)
    for name, file in _DLIB_FILES.items():
        try:
            yield Check("Faces", name, "ok", str(model_file(file)))
        except LatentEditError as error:
            yield Check("Faces", name, "missing", error.problem, error.remedy)


def _films() -> Iterator[Check]:
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        yield Check("Films", "ffmpeg", "ok", f"{imageio_ffmpeg.get_ffmpeg_version()} ({program})")
    except RuntimeError:
        remedy = "Install ffmpeg with the system's package manager, or: pip install --force-reinstall imageio-ffmpeg"
        yield Check("Films", "ffmpeg", "missing", "none: .mp4 cannot be written, .gif and .webp can", remedy)


_SECTIONS: dict[str, Callable[[], Iterator[Check]]] = {
    "Installation": _installation,
    "Devices": _devices,
    "Kernels": _kernels,
    "Model": _model,
    "Faces": _faces,
    "Films": _films,
}
