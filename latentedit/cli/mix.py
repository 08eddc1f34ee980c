"""``latentedit mix``: one face in the style of another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli._common import (
    Command,
    device_option,
    max_pixels_option,
    model_option,
    output_option,
    quality_option,
    seed_option,
)
from latentedit.cli._faces import (
    FACE_FILE,
    has_photo,
    method_option,
    open_faces,
    open_model,
    open_photos,
    original_of,
    steps_option,
)
from latentedit.cli._outputs import check_distinct, check_picture, picture_path, usage
from latentedit.cli._types import Finite

if TYPE_CHECKING:
    from PIL import Image

    from latentedit.models import Model

STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@click.command(cls=Command)
@click.argument("a", type=FACE_FILE)
@click.argument("b", type=FACE_FILE)
@click.option(
    "--layers", default="middle", show_default=True, metavar="LAYERS",
    help="What to take of B: coarse (pose, shape), middle (features), fine (colours), or 0-3,8.",
)  # fmt: skip
@click.option(
    "--strength",
    type=Finite(0, 2),
    default=1.0,
    show_default=True,
    metavar="NUMBER",
    help="How much of it: 0 to 1; up to 2 exaggerates.",
)
@click.option("--sheet", is_flag=True, help="Write a sheet of coarse, middle and fine at several strengths instead.")
@click.option("--crop", is_flag=True, help="Write the mixed face alone instead of the photo of A.")
@click.option("--cell", type=click.IntRange(16, 2048), default=192, show_default=True, help="Pixels of a sheet's cell.")
@method_option
@steps_option
@seed_option
@model_option
@device_option
@quality_option
@max_pixels_option
@output_option("mixed.png", "The picture to write; its suffix says which kind. Or a folder.")
def command(
    a: Path,
    b: Path,
    layers: str,
    strength: float,
    sheet: bool,
    crop: bool,
    cell: int,
    model: str | None,
    device: str,
    quality: int | str | None,
    max_pixels: int,
    output: Path,
    **inversion: Any,
) -> None:
    """Give the face in A the style of the face in B, layer by layer.

    A and B are photos (their largest face), inversions (.safetensors), or latents (.npz). Where A is a photo, the
    result is that photo with the mixed face.
    """
    from latentedit.editing import mix
    from latentedit.images import save_image, save_photo
    from latentedit.latents import layer_indices

    output = picture_path(output, a, "mixed")
    check_picture(output, quality)
    check_distinct({"-o": output}, [a, b])
    loaded = open_model(model, device)
    with usage():
        layer_indices(layers, loaded.generator.synthesis.layer_resolutions)
    photos = open_photos([a, b], max_pixels)
    (one,), (other,) = open_faces([a, b], loaded, photos=photos, **inversion)
    kept: Any = quality
    if sheet:
        save_image(mix_sheet(one, other, loaded, cell=cell), output, quality=kept)
    else:
        mixed = mix(one, other, layers=layers, strength=strength, model=loaded)
        if crop or not has_photo(one):
            save_image(mixed.image, output, quality=kept)
        else:
            original = photos[a] if a in photos else original_of(one, max_pixels)
            save_photo(mixed.paste_back(photo=original), output, like=original, quality=kept)
    click.echo(str(output))


def mix_sheet(a: Any, b: Any, model: Model, *, cell: int = 192) -> Image.Image:
    """Coarse, middle and fine layers of ``b`` in ``a``, at several strengths, with both faces at the ends."""
    from latentedit.editing import edit, mix
    from latentedit.latents import LAYER_GROUPS
    from latentedit.media import contact_sheet

    resolutions = model.generator.synthesis.layer_resolutions
    groups = [name for name, (low, high) in LAYER_GROUPS.items() if any(low <= r <= high for r in resolutions)]
    groups.append("0-" + str(len(resolutions) - 1))
    first, second = edit(a, model=model).image, edit(b, model=model).image
    rows = []
    for layers in groups:
        mixed = [mix(a, b, layers=layers, strength=strength, model=model).image for strength in STRENGTHS]
        rows.append([first, *mixed, second])
    labels = [*groups[:-1], "all"]
    columns = ["A", *(f"{strength:.0%}" for strength in STRENGTHS), "B"]
    return contact_sheet(rows, labels, columns, cell=cell)
