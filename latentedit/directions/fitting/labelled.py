"""Labelled latents: sampled from a generator, rendered, and scored by a perception network; resumable.

Legend: ``N`` latents. Sample ``i`` of seed ``s`` is drawn from ``RandomState(s * 1,000,000 + i)``, whatever the batch
size and however often the work is interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from latentedit.attributes import canonical
from latentedit.directions.fitting.light import LIGHT
from latentedit.directions.fitting.probe import Probe
from latentedit.errors import DirectionError
from latentedit.files import atomic_path
from latentedit.latents import seed_z

if TYPE_CHECKING:
    from latentedit.networks import FacePerception, StyleGenerator

SEEDS_PER_SET = 1_000_000
_META = "labelled.json"


@dataclass(frozen=True)
class SampleConfig:
    """What to sample: ``count`` latents of ``seed`` at truncation ``psi``, in batches of ``batch``.

    ``shard`` latents are written at a time; that is what an interruption can cost.
    """

    count: int = 10_000
    seed: int = 0
    psi: float = 1.0
    batch: int = 32
    shard: int = 500

    def __post_init__(self) -> None:
        if not 1 <= self.count <= SEEDS_PER_SET:
            raise DirectionError(f"{self.count} samples are out of range.", f"Choose 1 to {SEEDS_PER_SET:,}.")
        if not 0 <= self.seed < 2**32 // SEEDS_PER_SET:
            raise DirectionError(f"Seed {self.seed} is out of range.", f"Choose 0 to {2**32 // SEEDS_PER_SET - 1}.")


@dataclass(frozen=True, eq=False)
class LabelledLatents:
    """Latents ``w`` [N, w_dim] float32 and ``scores``: attribute name -> [N], NaN where unknown."""

    w: np.ndarray
    scores: Mapping[str, np.ndarray]
    units: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.w)

    def __add__(self, other: LabelledLatents) -> LabelledLatents:
        """Both sets, one after the other; a score that one of them lacks is unknown there."""
        if self.w.shape[1] != other.w.shape[1]:
            raise DirectionError(
                f"Latents of w_dim {self.w.shape[1]} and {other.w.shape[1]} cannot be joined.",
                "Both sets must come from the same generator.",
            )
        names = [*self.scores, *(name for name in other.scores if name not in self.scores)]

        def joined(name: str) -> np.ndarray:
            parts = [part.scores.get(name, np.full(len(part), np.nan)) for part in (self, other)]
            return np.concatenate(parts)

        return LabelledLatents(
            np.concatenate([self.w, other.w]),
            {name: joined(name) for name in names},
            {**other.units, **self.units},
            self.fingerprint or other.fingerprint,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one ``.npz``: ``w``, ``names``, ``scores`` [N, attributes], ``meta`` (JSON)."""
        names = list(self.scores)
        table = np.stack([self.scores[name] for name in names], 1) if names else np.zeros((len(self), 0))
        meta = json.dumps({"units": dict(self.units), "fingerprint": self.fingerprint})
        with atomic_path(path) as temporary:
            np.savez(temporary, w=self.w, scores=table.astype(np.float32), names=np.array(names), meta=np.array(meta))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelledLatents:
        """Read what `save` wrote.

        Raises:
            DirectionError: missing, damaged, or another kind of file.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                w, table, names = archive["w"], archive["scores"].astype(np.float64), archive["names"].tolist()
                meta = json.loads(str(archive["meta"]))
            scores = {canonical(name): table[:, index] for index, name in enumerate(names)}
            if w.ndim != 2 or len(w) != len(table):
                raise ValueError(f"w has shape {list(w.shape)} for {len(table)} labels")
            units = {canonical(name): unit for name, unit in meta["units"].items()}
            return cls(w, scores, units, meta["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError, IndexError, BadZipFile) as error:
            raise DirectionError(
                f"{str(path)!r} holds no labelled latents: {error}.", "Delete it; it will be made again."
            ) from error


def sample_labelled(
    generator: StyleGenerator,
    perception: FacePerception,
    config: SampleConfig,
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> LabelledLatents:
    """Sample ``config.count`` latents, render them, and score them.

    With a ``folder``, finished shards are kept there and found again: an interrupted run goes on where it stopped, and
    asking for more samples later renders only the new ones. ``progress`` is called with the number of new samples.

    Raises:
        DirectionError: ``folder`` holds samples of other networks, another seed, or another truncation.
        OutputError: ``folder`` cannot be written.
    """
    place = None if folder is None else Path(folder)
    identity = describe(generator, perception, config)
    if place is not None:
        _claim(place, identity)
    parts = []
    for first in range(0, config.count, config.shard):
        wanted = min(config.shard, config.count - first)
        path = None if place is None else place / f"{first:07d}.npz"
        part = _resume(path, wanted)
        have = 0 if part is None else len(part)
        if have < wanted:
            new = _label(generator, perception, config, first + have, first + wanted, identity["generator"], progress)
            part = new if part is None else part + new
            if path is not None:
                part.save(path)
        elif progress is not None:
            progress(wanted)
        parts.append(_head(part, wanted))
    return _concatenate(parts)


def label_latents(
    generator: StyleGenerator,
    perception: FacePerception,
    ws: torch.Tensor,
    *,
    batch: int = 32,
    progress: Callable[[int], None] | None = None,
) -> LabelledLatents:
    """Render given latents ``ws`` [N, L, w_dim] and score them; ``w`` of the result is their mean over the layers."""
    from latentedit.directions.fitting.fit import as_w
    from latentedit.networks import fingerprint

    probe = Probe(generator, perception, batch=batch, progress=progress)
    scores = probe.scores(ws.to(probe.device))
    return LabelledLatents(as_w(ws), scores, probe.units, fingerprint(generator))


def describe(generator: StyleGenerator, perception: FacePerception, config: SampleConfig) -> dict[str, Any]:
    """What decides the labelled latents: both networks, what light is measured, seed, truncation, size of a shard."""
    from latentedit.networks import fingerprint

    return {
        "generator": fingerprint(generator),
        "perception": judge_of(perception),
        "light": list(LIGHT),
        "seed": config.seed,
        "psi": config.psi,
        "shard": config.shard,
    }


def judge_of(perception: FacePerception) -> str:
    """What identifies who labels: the fingerprint of a network, or the name of the class that stands for one."""
    from latentedit.networks import fingerprint

    return fingerprint(perception) if isinstance(perception, torch.nn.Module) else type(perception).__qualname__


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    path = folder / _META
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            found = None
        if found != identity:
            known = found if isinstance(found, dict) else {}
            differing = [key for key in identity if known.get(key) != identity[key]]
            raise DirectionError(
                f"{str(folder)!r} holds labelled latents that differ in {', '.join(differing)}.",
                "Choose another folder, or delete this one.",
            )
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(identity, indent=2))


def _resume(path: Path | None, wanted: int) -> LabelledLatents | None:
    if path is None or not path.is_file():
        return None
    try:
        return LabelledLatents.load(path)
    except DirectionError:
        return None  # a damaged shard is made again


def _head(part: LabelledLatents | None, count: int) -> LabelledLatents:
    assert part is not None
    scores = {name: values[:count] for name, values in part.scores.items()}
    return LabelledLatents(part.w[:count], scores, part.units, part.fingerprint)


def _concatenate(parts: list[LabelledLatents]) -> LabelledLatents:
    names = list(parts[0].scores)
    scores = {name: np.concatenate([part.scores[name] for part in parts]) for name in names}
    return LabelledLatents(np.concatenate([part.w for part in parts]), scores, parts[0].units, parts[0].fingerprint)


@torch.no_grad()
def _label(
    generator: StyleGenerator,
    perception: FacePerception,
    config: SampleConfig,
    first: int,
    last: int,
    fingerprint: str,
    progress: Callable[[int], None] | None,
) -> LabelledLatents:
    probe = Probe(generator, perception, batch=config.batch, progress=progress)
    rows, tables = [], []
    for start in range(first, last, config.batch):
        seeds = [config.seed * SEEDS_PER_SET + index for index in range(start, min(start + config.batch, last))]
        z = seed_z(seeds, generator.z_dim).to(probe.device)
        ws = generator.mapping(z, _classes(generator, seeds), truncation_psi=config.psi)
        rows.append(ws[:, 0].float().cpu().numpy())
        tables.append(probe.scores(ws))
    scores = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return LabelledLatents(np.concatenate(rows), scores, probe.units, fingerprint)


def _classes(generator: StyleGenerator, seeds: list[int]) -> torch.Tensor | None:
    """One-hot labels [N, c_dim] of a conditional generator, one class per seed in turn."""
    if generator.c_dim == 0:
        return None
    indices = torch.tensor([seed % generator.c_dim for seed in seeds])
    return torch.nn.functional.one_hot(indices, generator.c_dim).float().to(next(generator.parameters()).device)
