"""``latentedit generate``: faces from seeds, as stylegan2-ada's ``generate.py`` makes and names them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import Command, Seeds, device_option, model_option, outdir_option, progress
from latentedit.cli._faces import FACE_FILE, open_model
from latentedit.errors import LatentError

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
@click.option("--trunc", type=float, default=1.0, show_default=True, help="Truncation psi: lower is more average.")
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
    import torch

    from latentedit.images import save_image
    from latentedit.latents import save_ws

    if seeds is not None and projected_w is not None:
        raise click.UsageError("Give --seeds or --projected-w, not both.")
    loaded = open_model(model, device)
    if projected_w is not None:
        ws = _projected(projected_w, loaded)
        names = [f"proj{i:02d}" for i in range(len(ws))]
    else:
        seeds = list(range(10)) if seeds is None else seeds
        names = [f"seed{seed:04d}" for seed in seeds]
        ws = _mapped(loaded, seeds, trunc, trunc_cutoff, label)
    across, down = _shape(grid, len(names)) if grid is not None else (0, 0)
    images = []
    with progress("Rendering", total=len(names)) as bar:
        for rows in torch.arange(len(names)).split(_BATCH):
            numbers = rows.tolist() if seeds is None else [seeds[row] for row in rows.tolist()]
            part = _render(loaded, ws[rows.to(ws.device)], noise_mode, numbers)
            for row, image in zip(rows.tolist(), part, strict=True):
                save_image(image, outdir / f"{names[row]}.png")
                if save_w:
                    save_ws(outdir / f"{names[row]}.npz", ws[row : row + 1])
                click.echo(str(outdir / f"{names[row]}.png"))
            images += part
            bar.advance(len(part))
    if grid is not None:
        from latentedit.media import contact_sheet

        save_image(contact_sheet(images[: across * down], width=across, gap=2), outdir / "grid.png")
        click.echo(str(outdir / "grid.png"))


def _mapped(model: Model, seeds: list[int], trunc: float, cutoff: int | None, label: int | None) -> Tensor:
    import torch

    from latentedit.latents import seed_z

    generator = model.generator
    if generator.c_dim and label is None:
        raise LatentError(
            f"The generator of {model.name!r} is conditional.", f"Choose --class 0 to {generator.c_dim - 1}."
        )
    if label is not None and label >= generator.c_dim:
        classes = f"classes 0 to {generator.c_dim - 1}" if generator.c_dim else "no classes"
        raise LatentError(f"There is no class {label}: the generator of {model.name!r} has {classes}.", None)
    z = seed_z(seeds, generator.z_dim).to(model.device)
    c = None
    if label is not None:
        c = torch.zeros(len(seeds), generator.c_dim, device=model.device)
        c[:, label] = 1
    with torch.no_grad():
        return generator.mapping(z, c, truncation_psi=trunc, truncation_cutoff=cutoff)


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
