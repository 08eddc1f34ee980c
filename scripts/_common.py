"""What the training scripts share: progress lines, grids of pictures, and the perception losses."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.files import atomic_path
from latentedit.images import to_pil
from latentedit.media import contact_sheet
from latentedit.networks.perception import PerceptionNetwork
from latentedit.training.face_teacher import DlibFaceNetwork, tight_chips
from latentedit.training.state import MetricsFile

_T = TypeVar("_T")


def of_class(network: object, kind: type[_T]) -> _T:
    """``network`` as one of the class that can be trained here; else a usage error."""
    if not isinstance(network, kind):
        raise click.UsageError(f"The model's {type(network).__name__} cannot be trained here, only a {kind.__name__}.")
    return network


def stop_gently() -> None:
    """Let a run that is told to end (SIGTERM) write what it has first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def report(
    progress: Iterable[tuple[int, dict[str, float]]], metrics: MetricsFile, *, unit: str = "images", every: float = 30.0
) -> None:
    """Run ``progress`` to its end; print and write the means of the losses every so many seconds."""
    began, first, sums, counts = time.monotonic(), None, {}, {}
    done = 0
    for done, losses in progress:
        first = done if first is None else first
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value)
            counts[name] = counts.get(name, 0) + 1
        elapsed = time.monotonic() - began
        if elapsed > every:
            _flush(done, (done - first) / elapsed, sums, counts, metrics, unit)
            began, first = time.monotonic(), done
    if sums:
        elapsed = max(time.monotonic() - began, 1e-9)
        _flush(done, (done - (first or 0)) / elapsed, sums, counts, metrics, unit)


def _flush(
    done: int, rate: float, sums: dict[str, float], counts: dict[str, int], metrics: MetricsFile, unit: str
) -> None:
    means = {name: sums[name] / counts[name] for name in sums}
    metrics.write(**{unit: done}, rate=rate, **means)
    text = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
    click.echo(f"{unit} {done}  {rate:.1f}/s  {text}")
    sums.clear()
    counts.clear()


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Write images [N,3,R,R] in [-1,1] as one PNG with ``columns`` pictures a row."""
    pictures = to_pil(images)
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    with atomic_path(path) as temporary:
        contact_sheet(rows).save(temporary)


def perception_losses(
    network: PerceptionNetwork, teacher: DlibFaceNetwork | None = None
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Perceptual and identity distance of rebuilt to real photos, [N] each, differentiable in the rebuilt ones.

    With dlib's network for ``teacher``, its distance joins the identity's for every second row: the gradient of one
    network alone finds changes that fool that network.
    """
    network = network.eval().requires_grad_(False)

    def perceive(rebuilt: Tensor, photos: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            real = network.perceive(photos)
        seen = network.perceive(rebuilt)
        identity = network.identity_distance(seen, real)
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(tight_chips(photos[::2]))
            found = teacher(tight_chips(rebuilt[::2]))
            judged = (found - wanted).square().sum(dim=1).add(1e-6).sqrt()
            identity = identity + F.pad(judged[:, None], (0, 1)).reshape(-1)[: len(photos)]
        return network.perceptual_distance(seen, real), identity

    return perceive
