"""What an array of another project is: a direction, many components, a boundary in Z, or latents.

A file does not say, but its keys, its name, the norms and the number of its rows do, together with the generator that
it is said to be for. What stays doubtful is refused with the ways to say it. Legend: ``L`` rows of ws, ``D`` = w_dim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from latentedit.errors import DirectionError, FingerprintError
from latentedit.latents import seed_z

if TYPE_CHECKING:
    from latentedit.networks import StyleGenerator

Space = Literal["auto", "z", "w", "w+"]
SPACES: tuple[Space, ...] = ("auto", "z", "w", "w+")

LATENT_NORM = 0.3
LATENT_SHARE = 0.4
"""Rows are taken for latents that are this share of the median w long or longer, and that hold this share of the mean w
or more: of StyleGAN2-FFHQ's samples nearly all do, being 10 long, and directions, 1 long as a rule, have none of it."""

_LATENT_KEYS = re.compile(r"(ws?|latents?|latent_avg|w_avg|lat_mean|projected_w|w_?plus)(\.\d+)?")
_LATENT_NAMES = re.compile(r"(^|_)(projected|inverted|latents?|ws?_pivots?)(?!.*(direction|boundar|component))")
_PICTURE = re.compile(r".*\.(png|jpe?g|webp|bmp)(\..*)?", re.IGNORECASE)
_BOUNDARY = re.compile(r"boundar(y|ies)")
_SAYS_W = re.compile(r"(^|_)w(_?p(lus)?|\+)?(_|$)|wspace|w_space")
_SAYS_Z = re.compile(r"(^|_)z(_|$)|zspace|z_space")


@dataclass(frozen=True)
class Components:
    """Principal components [K, rows, D] of GANSpace, their standard deviations [K] where the file has them."""

    rows: np.ndarray
    deviations: np.ndarray | None = None

    def take(self, number: int | None, source: str) -> np.ndarray:
        """Component ``number`` [rows, D].

        Raises:
            DirectionError: no number, or one that is not there.
        """
        if number is None or not 0 <= number < len(self.rows):
            raise DirectionError(
                f"{source} holds {len(self.rows)} directions side by side, such as GANSpace's components"
                + ("." if number is None else f", but none of number {number}."),
                f"Choose one with --component, from 0 to {len(self.rows) - 1}.",
            )
        return self.rows[number]


def ganspace(arrays: Mapping[str, np.ndarray]) -> Components | None:
    """The components of a GANSpace file (Härkönen et al. 2020), told by its keys; None for other files."""
    for kind in ("lat", "act"):
        rows = arrays.get(f"{kind}_comp")
        if rows is not None and rows.ndim >= 2:
            deviations = arrays.get(f"{kind}_stdev")
            known = deviations is not None and deviations.reshape(-1).shape == (len(rows),)
            return Components(_three(rows), deviations.reshape(-1) if known and deviations is not None else None)
    return None


def stacked(array: np.ndarray, generator: StyleGenerator) -> Components | None:
    """``array`` as components, where it holds more directions than one: [K, 1, D], [K, L, D], or orthonormal rows."""
    rows = _three(array)
    many = len(rows) > 1 and rows.shape[1] in (1, generator.num_ws) and rows.shape[2] == generator.w_dim
    if not many or (array.ndim == 2 and len(array) == generator.num_ws and not _orthonormal(array)):
        return None
    return Components(rows)


def check_kind(name: str, array: np.ndarray, generator: StyleGenerator, source: str) -> None:
    """Refuse what is no direction of W: latents, and boundaries of Z.

    Raises:
        DirectionError: it says what the file is, and how to have it taken otherwise.
    """
    plain = name.lower()
    if _PICTURE.fullmatch(name) or _LATENT_KEYS.fullmatch(plain) or _LATENT_NAMES.search(plain):
        raise _latents(name, source, f"called {name!r}")
    if _SAYS_Z.search(plain) or (_BOUNDARY.search(plain) and not _SAYS_W.search(plain)):
        raise DirectionError(
            f"{name!r} in {source} is by its name a boundary of InterFaceGAN in Z: those in W say so "
            "(age_w_boundary.npy).",
            "Say --space z to carry it over into W, or --space w if it is one of W.",
        )
    if array.shape[-1] != generator.w_dim:
        return
    rows, w = array.reshape(-1, array.shape[-1]).astype(np.float64), sampled_w(generator)
    mean, long = w.mean(0), float(np.median(np.linalg.norm(rows, axis=1)))
    typical = float(np.median(np.linalg.norm(w, axis=1)))
    share = float(rows.mean(0) @ mean / max(mean @ mean, 1e-12))
    if long >= LATENT_NORM * typical and share >= LATENT_SHARE:
        why = f"{long:.3g} long, and {share:.0%} of the mean w is in them (this generator's are {typical:.3g} long)"
        raise _latents(name, source, why)


@torch.no_grad()
def sampled_w(generator: StyleGenerator, count: int = 256) -> np.ndarray:
    """Some w [count, D] of the generator."""
    return _mapped(generator, seed_z(range(count), generator.z_dim)).double().cpu().numpy()


@torch.no_grad()
def from_z(normal: np.ndarray, generator: StyleGenerator, *, count: int = 512) -> tuple[np.ndarray, float]:
    """The mean displacement [D] in W that moving z along ``normal`` [z_dim] makes, and how far samples agree on it: the
    length of the mean over the mean length, 1 where all go the same way.

    The mapping network is bent, so that what is straight in Z is straight in W on average only.

    Raises:
        FingerprintError: another width than the generator's z.
    """
    flat = normal.reshape(-1).astype(np.float64)
    if flat.shape != (generator.z_dim,):
        raise FingerprintError(
            f"A boundary of shape {list(normal.shape)} does not fit this generator's z of {generator.z_dim}.",
            "Name the generator that it was made for with --model.",
        )
    unit = torch.from_numpy(flat / max(float(np.linalg.norm(flat)), 1e-12)).float()
    z = seed_z(range(count), generator.z_dim)
    moved = (_mapped(generator, z + unit) - _mapped(generator, z - unit)).double().cpu().numpy()
    mean = moved.mean(0)
    return mean, float(np.linalg.norm(mean) / max(np.linalg.norm(moved, axis=1).mean(), 1e-12))


def _mapped(generator: StyleGenerator, z: torch.Tensor) -> torch.Tensor:
    device = next(generator.parameters()).device
    c = torch.eye(generator.c_dim, device=device)[:1].expand(len(z), -1) if generator.c_dim else None
    return generator.mapping(z.to(device), c)[:, 0]


def _three(array: np.ndarray) -> np.ndarray:
    """[D] and [1, D] as [1, 1, D]; [K, D] as [K, 1, D]; [K, L, D] as it is; a leading 1 of [1, L, D] stays."""
    if array.ndim == 3:
        return array
    return array.reshape(-1, 1, array.shape[-1])


def _orthonormal(rows: np.ndarray) -> bool:
    gram = rows.astype(np.float64) @ rows.astype(np.float64).T
    return bool(np.allclose(gram, np.eye(len(rows)), atol=1e-2))


def _latents(name: str, source: str, why: str) -> DirectionError:
    return DirectionError(
        f"{name!r} in {source} is no direction but latents: {why}.",
        "Edit latents with `latentedit edit FILE`; if it is a direction all the same, say --space w or --space w+.",
    )
