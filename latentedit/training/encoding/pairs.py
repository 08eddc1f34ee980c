"""Synthetic pairs: pictures of a generator with the latents that they were made from, in shards.

A shard ``NNNNN`` is ``.img.npy`` uint8 [n,R,R,3]; ``.w.npy`` float32 [n,D], one w for all layers, or ``.ws.npy``
float32 [n,L,D] where some are mixed; and ``.psi.npy`` float32 [n], the truncation. ``.img.npy`` is written last: its
presence says that the shard is complete. Legend: ``R`` side, ``L`` style layers, ``D`` width of w.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.errors import ImageError
from latentedit.faces.dataset import save_array
from latentedit.faces.detect import detect
from latentedit.networks.protocols import StyleGenerator

FIRST_SEED = 1_000_000
"""Samples are those of seeds from here on; evaluations use smaller ones."""


@dataclass(frozen=True)
class PairsConfig:
    """What is rendered: ``size`` of the pictures, ``psi`` between two truncations; shares of samples whose later layers
    are another sample's (style mixing) and that are moved along a direction of ``directions`` by up to ``move``
    standard deviations of W.
    """

    size: int = 256
    shard_size: int = 128
    psi: tuple[float, float] = (0.6, 1.0)
    mixed: float = 0.25
    moved: float = 0.25
    move: float = 1.5


def sample_latents(
    generator: StyleGenerator, seeds: Sequence[int], config: PairsConfig, directions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Latents [n,L,D] and truncations [n] of ``seeds``: each depends on its seed alone.

    ``directions`` [k,D] are unit vectors; without them, moves are along random ones.
    """
    device = generator.mapping.w_avg.device
    latents, truncations = [], []
    for seed in seeds:
        random = np.random.RandomState(seed)
        z = torch.from_numpy(random.randn(1, generator.z_dim)).float()
        psi = float(random.uniform(*config.psi))
        c = torch.zeros(1, generator.c_dim) if generator.c_dim else None
        if c is not None:
            c[0, random.randint(generator.c_dim)] = 1
        other = torch.from_numpy(random.randn(1, generator.z_dim)).float()
        both = torch.cat([z, other]).to(device)
        labels = None if c is None else c.expand(2, -1).to(device)
        ws, second = generator.mapping(both, labels, truncation_psi=psi).split(1)
        if random.rand() < config.mixed:
            row = random.randint(1, generator.num_ws)
            ws = torch.cat([ws[:, :row], second[:, row:]], dim=1)
        if random.rand() < config.moved:
            axis = random.randn(1, generator.w_dim) if directions is None else None
            unit = torch.from_numpy(axis) if axis is not None else directions[random.randint(len(directions))][None]  # type: ignore[index]
            unit = torch.nn.functional.normalize(unit.float(), dim=1).to(device)
            spread = (second[:, :1] - generator.mapping.w_avg).square().mean().sqrt() / max(psi, 1e-3)
            ws = ws + (config.move * random.uniform(-1, 1)) * spread * unit
        latents.append(ws)
        truncations.append(psi)
    return torch.cat(latents), torch.tensor(truncations)


@torch.no_grad()
def render_shards(
    generator: StyleGenerator, folder: Path, count: int, config: PairsConfig, *, directions: Tensor | None = None
) -> Iterator[tuple[str, int]]:
    """Write those of the first ``count`` shards that ``folder`` lacks; yields the name and the samples of each."""
    for number in range(count):
        base = folder / f"{number:05d}"
        if base.with_suffix(".img.npy").exists():
            continue
        first = FIRST_SEED + number * config.shard_size
        ws, psi = sample_latents(generator, range(first, first + config.shard_size), config, directions)
        pictures = np.concatenate([_picture(generator, row, config.size) for row in ws.split(1)])
        save_array(base.with_suffix(".ws.npy"), ws.cpu().numpy())
        save_array(base.with_suffix(".psi.npy"), psi.numpy())
        save_array(base.with_suffix(".img.npy"), pictures)
        yield base.name, len(pictures)


def _picture(generator: StyleGenerator, ws: Tensor, size: int) -> np.ndarray:
    image = generator.synthesis(ws, noise_mode="const")
    if image.shape[-1] > size:
        image = torch.nn.functional.avg_pool2d(image, image.shape[-1] // size)
    return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def add_landmarks(folder: Path) -> Iterator[tuple[str, int]]:
    """Write ``NNNNN.landmarks.npy`` float32 [n,68,2] beside every shard that lacks it, NaN where no face is found.

    Yields the name and the faces of each. Masks are drawn by them, and faces compared.

    Raises:
        MissingExtraError: dlib is not installed.
    """
    for path in sorted(folder.glob("[0-9]*.img.npy")):
        target = path.with_name(path.name.replace(".img.npy", ".landmarks.npy"))
        if target.exists():
            continue
        pictures = np.load(path, mmap_mode="r")
        points = np.full((len(pictures), 68, 2), np.nan, np.float32)
        for row, picture in enumerate(pictures):
            faces = detect(Image.fromarray(np.asarray(picture)), detector="hog", scales=(1.0,))
            if faces:
                points[row] = faces[0].landmarks
        save_array(target, points)
        yield target.name.split(".")[0], int(np.isfinite(points[:, 0, 0]).sum())


class Pairs:
    """Shards of a folder: the first ``held`` for measuring, or all the others for training.

    Shards that are written later are found by `refresh`.
    """

    def __init__(self, folder: str | Path, *, num_ws: int, held: int = 2, split: str = "train") -> None:
        self.folder = Path(folder)
        self.num_ws = num_ws
        self._held = held
        self._split = split
        self._images: list[np.ndarray] = []
        self._latents: list[np.ndarray] = []
        self._landmarks: list[np.ndarray | None] = []
        self._names: list[str] = []
        self.refresh()

    def refresh(self) -> int:
        """Look for new shards; returns the number of pairs."""
        names = sorted(path.name.split(".")[0] for path in self.folder.glob("[0-9]*.img.npy"))
        names = names[: self._held] if self._split == "held" else names[self._held :]
        if not names:
            raise ImageError(f"{str(self.folder)!r} holds too few pairs.", "Run scripts/render_pairs.py first.")
        for name in names[len(self._images) :]:
            latents = self.folder / f"{name}.ws.npy"
            latents = latents if latents.exists() else self.folder / f"{name}.w.npy"
            self._images.append(np.load(self.folder / f"{name}.img.npy", mmap_mode="r"))
            self._latents.append(np.load(latents, mmap_mode="r"))
            self._landmarks.append(None)
            self._names.append(name)
        self._ends = np.cumsum([len(part) for part in self._images])
        return len(self)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def size(self) -> int:
        """Side of the pictures."""
        return self._images[0].shape[1]

    def _place(self, row: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, row, side="right"))
        return shard, row - (int(self._ends[shard - 1]) if shard else 0)

    def pictures(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [n,R,R,3]."""
        places = [self._place(int(row)) for row in rows]
        return np.stack([self._images[shard][index] for shard, index in places])

    def landmarks(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """float [n,68,2] in pixels of the pictures; NaN where no face was found, or none was looked for."""
        found = np.full((len(rows), 68, 2), np.nan)
        for i, row in enumerate(rows):
            shard, index = self._place(int(row))
            if self._landmarks[shard] is None:
                path = self.folder / f"{self._names[shard]}.landmarks.npy"
                self._landmarks[shard] = np.load(path) if path.exists() else None
            points = self._landmarks[shard]
            if points is not None:
                found[i] = points[index]
        return found

    def latents(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """float32 [n,L,D]."""
        found: list[Any] = []
        for row in rows:
            shard, index = self._place(int(row))
            latent = torch.from_numpy(np.array(self._latents[shard][index], dtype=np.float32))
            found.append(latent.expand(self.num_ws, -1) if latent.ndim == 1 else latent)
        return torch.stack(found)
