"""`invert`: photos in, `Inversion`s out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeVar, overload

import torch

from latentedit.errors import LatentEditError
from latentedit.images import to_pil
from latentedit.inversion.config import InversionConfig
from latentedit.inversion.inversion import Inversion
from latentedit.inversion.methods.protocol import Method
from latentedit.inversion.methods.table import find_method
from latentedit.inversion.photos import Photo, Portrait, Region, gather, is_several
from latentedit.inversion.problem import Bench, Callback, Problem
from latentedit.inversion.similarity import measure
from latentedit.models import Model, ModelLike, as_model

_P = TypeVar("_P", bound=Photo)


@overload
def invert(
    image: Photo,
    *,
    model: ModelLike | None = None,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    face: int | None = 1,
    config: InversionConfig | None = None,
    region: Region | None = None,
    device: str | torch.device | None = None,
    callback: Callback | None = None,
) -> Inversion: ...


@overload
def invert(
    image: Photo,
    *,
    model: ModelLike | None = None,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    face: Literal["all"],
    config: InversionConfig | None = None,
    region: Region | None = None,
    device: str | torch.device | None = None,
    callback: Callback | None = None,
) -> list[Inversion]: ...


@overload
def invert(
    image: list[_P] | tuple[_P, ...],
    *,
    model: ModelLike | None = None,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    face: int | Literal["all"] | None = 1,
    config: InversionConfig | None = None,
    device: str | torch.device | None = None,
    callback: Callback | None = None,
) -> list[Inversion]: ...


def invert(
    image: Photo | list[_P] | tuple[_P, ...],
    *,
    model: ModelLike | None = None,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    face: int | Literal["all"] | None = 1,
    config: InversionConfig | None = None,
    region: Region | None = None,
    device: str | torch.device | None = None,
    callback: Callback | None = None,
) -> Inversion | list[Inversion]:
    """Find the latent of a face, so that it can be edited.

    Args:
        image: a path, PIL image, uint8 array [H,W,3], or `AlignedFace`; or a list of those.
        model: a `Model`, or what `load_model` takes; None is the embedded one. A bare generator works with FFHQ crops.
        method: ``"encoder"`` (one forward pass), ``"optimize"`` (gradient descent), ``"hybrid"`` (encoder, then
            descent), or ``"auto"`` (hybrid where the model has an encoder, else optimize).
        steps: how many at most; None takes the config's, or the method's default.
        seed: of the random numbers that the descent uses; every photo draws its own stream from it, so a photo's
            result does not depend on the others of a list.
        face: 1 for the largest face, 2 for the next, ..., "all", or None for a photo that is an aligned crop already.
        config: settings; see `InversionConfig`.
        region: weight map [H,W] of the photo in [0,1]; what is 0 (a mask, a hand) is not compared. One photo only.
        device: where a model that is loaded here goes; None is the CPU.
        callback: called after every step with a `Progress`.

    Returns:
        One `Inversion`; a list of them for a list of photos or for ``face="all"``. Several threads may call this with
        one model: nothing of it is written to.

    Raises:
        ImageError: a photo that cannot be read.
        FaceError: no face, or fewer faces than asked for.
        ModelError: the model cannot be loaded or lacks an encoder that was asked for.
        LatentEditError: an unknown method, or settings out of range.
    """
    several = is_several(image)
    photos: Sequence[Photo] = list(image) if several else [image]  # type: ignore[list-item]
    if several and region is not None:
        raise LatentEditError("region is of one photo, and a list was given.", "Invert that photo alone.")
    owner = as_model(model, device)
    portraits = [portrait for photo in photos for portrait in gather(photo, model=owner, face=face, region=region)]
    config = config or InversionConfig()
    config = config if steps is None else replace(config, steps=steps)
    results = list(invert_portraits(portraits, model=owner, method=method, config=config, seed=seed, callback=callback))
    return results if several or face == "all" else results[0]


def invert_portraits(
    portraits: Sequence[Portrait],
    *,
    model: Model,
    method: str | Method = "auto",
    config: InversionConfig | None = None,
    seed: int = 0,
    callback: Callback | None = None,
) -> Iterator[Inversion]:
    """Invert faces that `gather` found, one by one; yields each `Inversion` as soon as it is done."""
    chosen = find_method(method, model) if isinstance(method, str) else method
    bench = Bench(model, config or InversionConfig())
    for row, portrait in enumerate(portraits):
        yield _invert(portrait, bench, chosen, seed=seed, row=row, callback=callback)


def _invert(
    portrait: Portrait, bench: Bench, method: Method, *, seed: int, row: int, callback: Callback | None
) -> Inversion:
    target, weights = portrait.tensors(bench.device)
    solution = method.solve(Problem(bench, target, weights, seed, row, callback))
    code = solution.code.to("cpu")
    image = code.render(bench.generator)
    metrics = measure(image, target, bench.perception)
    config = bench.config.to_dict()
    return Inversion(
        code=code,
        image=to_pil(image)[0],
        target=portrait.crop,
        metrics={name: float(value) for name, value in metrics.items()},
        fingerprint=bench.model.fingerprint,
        model=bench.model.name,
        settings={"method": method.name, "seed": seed, "steps_taken": solution.steps, "config": config},
        aligned=portrait.aligned,
        photo=portrait.photo,
    )
