"""``latentedit mask``: a drawn face mask on the faces of a photo."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli._common import (
    PHOTO,
    Command,
    face_option,
    max_pixels_option,
    output_option,
    quality_option,
    seed_option,
)
from latentedit.cli._outputs import check_distinct, check_picture, picture_path


class ColorType(click.ParamType):
    """A colour that Pillow knows: ``#88aacc``, ``navy``."""

    name = "color"

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        from PIL import ImageColor

        try:
            return tuple(channel / 255 for channel in ImageColor.getrgb(value)[:3])
        except ValueError:
            self.fail(f"{value!r} is no colour. Write #rrggbb or a name such as navy.", param, ctx)


@click.command(cls=Command)
@click.argument("photo", type=PHOTO)
@click.option(
    "--type", "kind", type=click.Choice(["surgical", "cloth", "respirator"]), default="surgical", show_default=True,
    help="What kind of mask.",
)  # fmt: skip
@click.option("--color", type=ColorType(), help="Its colour: #88aacc, navy.  [default: from the seed]")
@click.option("--under-nose", is_flag=True, help="Worn under the nose.")
@click.option("--region", type=click.Path(path_type=Path), help="Also write where the mask is, white on black.")
@face_option
@seed_option
@quality_option
@max_pixels_option
@output_option("masked.png", "The picture to write, or a folder.")
def command(
    photo: Path,
    kind: str,
    color: tuple[float, float, float] | None,
    under_nose: bool,
    region: Path | None,
    face: int | str,
    seed: int,
    quality: int | str | None,
    max_pixels: int,
    output: Path,
) -> None:
    """Draw a face mask over the faces in PHOTO.

    Shape, colours and pattern follow from --seed; every face of --face all gets another mask.
    """
    from PIL import ImageChops

    from latentedit.faces.detect import choose_faces
    from latentedit.faces.masks import draw_mask
    from latentedit.images import open_photo, save_image, save_photo

    output = picture_path(output, photo, "masked")
    check_picture(output, quality)
    if region is not None:
        check_picture(region)
    check_distinct({"-o": output, "--region": region}, [photo])
    original = open_photo(photo, max_pixels=max_pixels)
    picture = original.rgb
    covered = None
    for number, one in enumerate(choose_faces(picture, face, name=str(photo))):  # pyright: ignore[reportArgumentType]
        drawn = draw_mask(
            picture, one.landmarks, kind=kind, color=color, under_nose=under_nose, seed=seed + number  # pyright: ignore
        )  # fmt: skip
        picture = drawn.photo
        covered = drawn.region if covered is None else ImageChops.lighter(covered, drawn.region)
    save_photo(picture, output, like=original, quality=quality)  # pyright: ignore[reportArgumentType]
    click.echo(str(output))
    if region is not None and covered is not None:
        save_image(covered, region)
        click.echo(str(region))
