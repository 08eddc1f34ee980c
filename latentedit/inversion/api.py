"""`invert`: photos in, `Inversion`s out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.images import to_pil
from latentedit.inversion.config import InversionConfig
from latentedit.inversion.descent import Callback, Progress
from latentedit.inversion.inversion import Inversion, render
from latentedit.inversion.low_rank import adapt
from latentedit.inversion.photos import Source, batch, gather, is_several
from latentedit.inversion.similarity import measure
from latentedit.inversion.solve import Solution, choose_method, judge_of, solve
from latentedit.inversion.whitening import LatentSpace


def invert(
    image: Any,
    *,
    model: Any = None,
    method: str = "auto",
    steps: int | None = None,
    seed: int = 0,
    face: int | str | None = 1,
    config: InversionConfig | None = None,
    region: Any = None,
    device: str | torch.device | None = None,
    callback: Callback | None = None,
) -> Any:
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
        One `Inversion`; a list of them for a list of photos or for ``face="all"``.

    Raises:
        ImageError: a photo that cannot be read.
        FaceError: no face, or fewer faces than asked for.
        ModelError: the model cannot be loaded or lacks an encoder that was asked for.
        LatentEditError: an unknown method, or settings out of range.
    """
    several = is_several(image)
    photos = list(image) if several else [image]
    if several and region is not None:
        raise LatentEditError("region is of one photo, and a list was given.", "Invert that photo alone.")
    model = as_model(model, device)
    sources = [source for photo in photos for source in gather(photo, model=model, face=face, region=region)]
    results = list(
        invert_sources(sources, model=model, method=method, config=_config(config, steps), seed=seed, callback=callback)
    )
    return results if several or face == "all" else results[0]


def invert_sources(
    sources: Sequence[Source],
    *,
    model: Any,
    method: str = "auto",
    config: InversionConfig | None = None,
    seed: int = 0,
    callback: Callback | None = None,
) -> Iterator[Inversion]:
    """Invert faces that `gather` found, batch by batch; yields each `Inversion` when its batch is done."""
    config = config or InversionConfig()
    chosen = choose_method(method, model)
    descends = chosen != "encoder"
    space = LatentSpace.measure(model.generator) if descends and sources else None
    size = config.batch_size
    for first in range(0, len(sources), size):
        part = sources[first : first + size]
        target, weights = batch(part, _device(model))
        solution = solve(
            model, target, method=chosen, config=config, seeds=[seed] * len(part), weights=weights, space=space,
            callback=_shifted(callback, first, first * config.total_steps(chosen)),
        )  # fmt: skip
        yield from _finish(part, target, solution, model=model, method=chosen, config=config, seed=seed)


def as_model(model: Any, device: str | torch.device | None = None) -> Any:
    """A `Model` of a `Model`, a bare generator, or anything that `load_model` takes."""
    from latentedit.models import Model, load_model
    from latentedit.networks import StyleGenerator

    if isinstance(model, Model):
        return model
    if isinstance(model, StyleGenerator):
        return Model(name="custom", generator=model)
    return load_model(model, device="cpu" if device is None else device)


def _config(config: InversionConfig | None, steps: int | None) -> InversionConfig:
    config = config or InversionConfig()
    return config if steps is None else replace(config, steps=steps)


def _device(model: Any) -> torch.device:
    return next(model.generator.parameters()).device


def _shifted(callback: Callback | None, first: int, before: int) -> Callable[[Progress], object] | None:
    """Count the rows and steps of a later batch on from those before it."""
    if callback is None or not first:
        return callback
    return lambda progress: callback(
        replace(progress, rows=tuple(row + first for row in progress.rows), completed=progress.completed + before)
    )


def _finish(
    sources: Iterable[Source],
    target: Tensor,
    solution: Solution,
    *,
    model: Any,
    method: str,
    config: InversionConfig,
    seed: int,
) -> Iterator[Inversion]:
    perception = judge_of(model)
    for row, source in enumerate(sources):
        ws = solution.ws[row : row + 1].detach().cpu().contiguous()
        noise = {name: value[row : row + 1].detach().cpu().clone() for name, value in solution.noise.items()}
        delta = {
            name: (left.detach().cpu(), right.detach().cpu())
            for name, (left, right) in (solution.deltas[row] if solution.deltas else {}).items()
        }
        image = render(adapt(model.generator, delta), ws, noise)
        metrics = measure(image, target[row : row + 1], perception)
        settings = {"method": method, "seed": seed, "steps_taken": solution.steps[row], "config": config.to_dict()}
        yield Inversion(
            ws=ws,
            noise=noise,
            image=to_pil(image)[0],
            target=source.crop,
            metrics={name: float(value) for name, value in metrics.items()},
            fingerprint=model.fingerprint,
            model=model.name,
            settings=settings,
            aligned=source.aligned,
            photo=source.photo,
            delta=delta,
        )
