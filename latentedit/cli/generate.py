"""``latentedit generate``: faces from seeds, as stylegan2-ada's ``generate.py`` makes and names them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, device_option, model_option, outdir_option, progress
from latentedit.cli._faces import FACE_FILE, open_model
from latentedit.cli._outputs import usage
from latentedit.cli._types import Finite, Seeds

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from latentedit.models import Model
    from latentedit.networks.protocols import NoiseMode

_BATCH = 8


class Grid(click.ParamType):
    """``COLUMNSxROWS``, ``COLUMNS``, or ``auto``."""

    name = "columns[xrows]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int | None]:
        if isinstance(value, tuple):
            return value
        if value == "auto":
            return 0, None
        match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", str(value))
        if match is None:
            self.fail(f"{value!r} is no grid; write columns and rows, such as 5x2.", param, ctx)
        return int(match[1]), int(match[2]) if match[2] else None


@click.command(cls=Command)
@click.option("--seeds", type=Seeds(), metavar="SEEDS", help="Which faces to make: 0-9,17.  [default: 0-9]")
@click.option("--trunc", type=Finite(-2, 2), default=1.0, show_default=True, metavar="NUMBER",
              help="Truncation psi: lower is more average.")  # fmt: skip
@click.option("--trunc-cutoff", type=click.IntRange(min=0), help="Truncate only this many layers.")
@click.option("--class", "label", type=click.IntRange(min=0), help="Class of a conditional generator.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", show_default=True,
              help="Noise added by the layers.")  # fmt: skip
@click.option("--projected-w", type=FACE_FILE, help="Render latents of this file instead of seeds.")
@click.option("--grid", type=Grid(), is_flag=False, flag_value="auto", metavar="[COLUMNSxROWS]",
              help="Also write grid.png with all of them.")  # fmt: skip
@click.option("--save-w", is_flag=True, help="Also write each latent as .npz (key w).")
@model_option
@device_option
@outdir_option("generated")
def command(
    seeds: list[int] | None,
    trunc: float,
    trunc_cutoff: int | None,
    label: int | None,
    noise_mode: NoiseMode,
    projected_w: Path | None,
    grid: tuple[int, int | None] | None,
    save_w: bool,
    model: str | None,
    device: str,
    outdir: Path,
) -> None:
    """Make faces from seeds: seed0085.png and so on.

    The same seed gives the same face here as in stylegan2-ada with the same generator.
    """
    from latentedit.images import save_image
    from latentedit.latents import save_ws

    if seeds is not None and projected_w is not None:
        raise click.UsageError("Give --seeds or --projected-w, not both.")
    loaded = open_model(model, device)
    numbers: list[int] = list(range(10)) if seeds is None else seeds
    if projected_w is not None:
        ws = _projected(projected_w, loaded)
        numbers = list(range(len(ws)))
        find = ws.__getitem__  # the numbers are rows
        names = [f"proj{i:02d}" for i in numbers]
    else:
        find = _mapping(loaded, trunc, trunc_cutoff, label)
        names = [f"seed{seed:04d}" for seed in numbers]
    across, down = _shape(grid, len(names)) if grid is not None else (0, 0)
    kept: list[Any] = []  # for the grid
    with progress("Rendering", total=len(names)) as bar:
        for first in range(0, len(names), _BATCH):
            rows = slice(first, first + _BATCH)
            part = find(numbers[rows])
            images = _render(loaded, part, noise_mode, numbers[rows])
            for name, image, latent in zip(names[rows], images, part.split(1), strict=True):
                save_image(image, outdir / f"{name}.png")
                if save_w:
                    save_ws(outdir / f"{name}.npz", latent)
                click.echo(str(outdir / f"{name}.png"))
            kept += images[: max(0, across * down - len(kept))]
            bar.advance(len(images))
    if grid is not None:
        from latentedit.media import contact_sheet

        save_image(contact_sheet(kept, width=across, gap=2), outdir / "grid.png")
        click.echo(str(outdir / "grid.png"))


def _mapping(model: Model, trunc: float, cutoff: int | None, label: int | None) -> Callable[[list[int]], Any]:
    """Latents of seeds; a class that is not there is found out before anything is rendered."""
    from latentedit.editing.interpolation import from_seeds

    with usage():
        from_seeds(model, [0], trunc, cutoff=cutoff, label=label)
    return lambda seeds: from_seeds(model, seeds, trunc, cutoff=cutoff, label=label)


def _projected(path: Path, model: Model) -> Tensor:
    from latentedit.editing.subject import subject_of

    return subject_of(path, model=model).ws


def _render(model: Model, ws: Tensor, noise_mode: NoiseMode, numbers: list[int]) -> list[Image.Image]:
    """Images of ``ws`` [N,L,w_dim]; random noise is drawn from each face's own number, so batches do not matter."""
    import torch

    from latentedit.images import to_pil

    synthesis = model.generator.synthesis
    drawn = {}
    if noise_mode == "random":
        streams = [torch.Generator().manual_seed(number) for number in numbers]
        for name, shape in synthesis.noise_shapes.items():
            drawn[name] = torch.cat([torch.randn(1, 1, *shape, generator=stream) for stream in streams]).to(ws.device)
    with torch.no_grad():
        if drawn:
            return to_pil(synthesis(ws, noise_mode="const", noise=drawn))
        return to_pil(synthesis(ws, noise_mode=noise_mode))


def _shape(grid: tuple[int, int | None], count: int) -> tuple[int, int]:
    across, down = grid
    across = across or math.ceil(math.sqrt(count))
    return across, down or math.ceil(count / across)
