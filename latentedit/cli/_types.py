"""What the values of options may be: refused before the work, with the way out."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from latentedit.errors import LatentEditError

_MILLION = 1_000_000


class InputFile(click.Path):
    """A file that is there and can be read; no folder, and no pipe, which nothing may ever be written to."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, readable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from latentedit.files import is_special

        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if is_special(path):
            self.fail(f"{click.format_filename(str(path))!r} is a pipe or a device. Save it into a file first.")
        return path


class OutputFile(click.Path):
    """A file to write, or a folder to write into: one that exists, or a name that ends in a slash."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        folder = isinstance(value, str) and value.endswith(("/", os.sep))
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        return Folder(path) if folder or path.is_dir() else path


class Folder(type(Path())):
    """A path that was written as a folder's."""


class Finite(click.FloatRange):
    """A number in a range, and no ``nan``."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


class Seeds(click.ParamType):
    """Seeds as in stylegan2-ada: ``0-9,17``."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        from latentedit.latents import parse_seeds

        try:
            return list(dict.fromkeys(parse_seeds(value)))
        except (LatentEditError, ValueError) as error:
            self.fail(" ".join(str(error).split()), param, ctx)


class Face(click.ParamType):
    """A face's number, 1 for the largest, or ``all``."""

    name = "number|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "all" or isinstance(value, int):
            return value
        text = str(value)
        if not (text.isascii() and text.isdigit()) or int(text) < 1:
            self.fail(f"{value!r} is neither a number from 1 on (1 = the largest face) nor 'all'.", param, ctx)
        return int(text)


class QualityType(click.ParamType):
    """``1`` to ``100``, or ``lossless``."""

    name = "1-100|lossless"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "lossless" or isinstance(value, int):
            return value
        text = str(value)
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 100:
            self.fail(f"{value!r} is neither a number from 1 to 100 nor 'lossless'.", param, ctx)
        return int(text)


class Megapixels(Finite):
    """Millions of pixels, as a whole number of pixels."""

    def __init__(self) -> None:
        super().__init__(min=0.01, max=2000)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return value if isinstance(value, int) else round(super().convert(value, param, ctx) * _MILLION)
