"""Contact sheets: pictures in a grid with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from latentedit.media.frames import Frame, as_image, scale


def contact_sheet(
    images: Sequence[Sequence[Frame | None]] | Sequence[Frame | None],
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    width: int | None = None,
    cell: int | None = None,
    gap: int = 4,
    background: str = "white",
    ink: str = "black",
) -> Image.Image:
    """Lay images out in a grid with labels.

    ``images`` is a list of rows, or one flat list that is cut into rows of ``width`` (default: the number of column
    labels, or everything in one row). ``rows`` are the labels at the left, ``columns`` those above. ``cell`` is the
    side in pixels that each image is fitted into (default: the largest image); ``None`` leaves a cell empty.

    Raises:
        ValueError: no images, or a number of labels that is not the number of rows or columns.
    """
    grid = _as_grid(images, width or (len(columns) if columns else None))
    across = max(len(row) for row in grid)
    if rows is not None and len(rows) != len(grid):
        raise ValueError(f"{len(rows)} row labels for {len(grid)} rows")
    if columns is not None and len(columns) != across:
        raise ValueError(f"{len(columns)} column labels for {across} columns")
    pictures = [[None if image is None else as_image(image) for image in row] for row in grid]
    sizes = [image.size for row in pictures for image in row if image is not None]
    side_x, side_y = (cell, cell) if cell else (max(s[0] for s in sizes), max(s[1] for s in sizes))
    pictures = [[None if p is None else _fit(p, side_x, side_y) for p in row] for row in pictures]
    if cell:  # rows of landscape pictures need no square cells
        side_x = max(p.width for row in pictures for p in row if p is not None)
        side_y = max(p.height for row in pictures for p in row if p is not None)

    font = ImageFont.load_default(size=max(11, min(28, side_x // 8)))
    line = sum(font.getmetrics()) if isinstance(font, ImageFont.FreeTypeFont) else 12
    left = 2 * gap + max((int(np.ceil(font.getlength(text))) for text in rows), default=0) if rows else 0
    top = gap + line if columns else 0
    sheet = Image.new("RGB", (left + across * (side_x + gap) + gap, top + len(grid) * (side_y + gap) + gap), background)
    draw = ImageDraw.Draw(sheet)
    for x, text in enumerate(columns or ()):
        centre = left + gap + x * (side_x + gap) + side_x / 2
        draw.text((centre, gap + line / 2), _shorten(text, font, side_x), ink, font=font, anchor="mm")
    for y, row in enumerate(pictures):
        corner_y = top + gap + y * (side_y + gap)
        if rows:
            draw.text((left - gap, corner_y + side_y / 2), rows[y], ink, font=font, anchor="rm")
        for x, picture in enumerate(row):
            if picture is not None:
                corner_x = left + gap + x * (side_x + gap)
                sheet.paste(
                    picture, (corner_x + (side_x - picture.width) // 2, corner_y + (side_y - picture.height) // 2)
                )
    return sheet


def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
    factor = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if size == image.size else scale(image, size)


def _as_grid(images: Sequence[Any], width: int | None) -> list[list[Any]]:
    items = list(images)
    if items and all(isinstance(item, (list, tuple)) for item in items):
        grid = [list(row) for row in items]
    else:
        width = width or max(1, len(items))
        grid = [items[i : i + width] for i in range(0, len(items), width)]
    if not any(cell is not None for row in grid for cell in row):
        raise ValueError("a contact sheet needs at least one image")
    return grid


def _shorten(text: str, font: Any, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
