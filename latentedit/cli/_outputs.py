"""Names of what a command writes: chosen and checked before the work, so that nothing is lost after it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from latentedit.cli._types import Folder
from latentedit.errors import LatentEditError


@contextmanager
def usage() -> Iterator[None]:
    """What is wrong with the words that were typed is bad usage: exit status 2."""
    try:
        yield
    except LatentEditError as error:
        raise click.UsageError(" ".join(error.for_command_line().split())) from error


def picture_path(output: Path, source: Path, ending: str = "edited") -> Path:
    """The file that ``-o output`` means for a picture made of ``source``: itself, or in a folder the name of
    ``source``, with ``-ending`` where that would overwrite it.

    Raises:
        UsageError: a suffix that names no kind of picture.
    """
    if is_folder(output):
        suffix = source.suffix if _writable(source.suffix) else ".png"
        path = Path(output) / f"{source.stem}{suffix}"
        return path.with_name(f"{source.stem}-{ending}{suffix}") if _same(path, source) else path
    check_picture(output)
    return output


def is_folder(output: Path) -> bool:
    """Whether ``-o output`` means a folder: there already, written with a slash, or without a suffix."""
    return isinstance(output, Folder) or output.is_dir() or not output.suffix


def check_picture(path: Path, quality: int | str | None = None) -> None:
    """Find out before the work that a picture cannot be written under this name, or not with that quality.

    Raises:
        UsageError: a suffix that names no kind of picture, or a quality that the kind does not know.
    """
    from latentedit.images import check_quality

    with usage():
        check_quality(path, quality)  # pyright: ignore[reportArgumentType]


def _writable(suffix: str) -> bool:
    from latentedit.images import check_suffix

    try:
        check_suffix(f"a{suffix}")
    except LatentEditError:
        return False
    return suffix.lower() not in (".gif", ".pdf")


def check_distinct(outputs: Mapping[str, Path | None], inputs: Iterable[Path] = ()) -> None:
    """Refuse outputs, by the option that names them, that are each other or an input: one would destroy the other.

    A single ``-o`` may name the input: that is how a photo is edited in place.

    Raises:
        UsageError: two are the same file.
    """
    seen: dict[str, str] = {}
    for path in inputs:
        seen[_key(path)] = "the input"
    for option, path in outputs.items():
        if path is None:
            continue
        other = seen.get(_key(path))
        if other is not None and not (option == "-o" and other == "the input"):
            raise click.UsageError(f"{option} {click.format_filename(path)} is {other} too; give it another name.")
        seen[_key(path)] = option


def _key(path: Path) -> str:
    """Equal for names that some file system takes for one: resolved, without case, composed."""
    return unicodedata.normalize("NFC", str(path.resolve())).casefold()


def _same(a: Path, b: Path) -> bool:
    return _key(a) == _key(b)


def numbered(path: Path, count: int) -> list[Path]:
    """``count`` names of files: ``out.png``, or ``out-1.png``, ``out-2.png`` ..."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, count + 1)]


class Names:
    """Names in a folder that are given away once: no output overwrites another one, or an input."""

    def __init__(self, folder: Path, inputs: Iterable[Path] = ()) -> None:
        self.folder = folder
        self._taken = {_key(path) for path in inputs}

    def take(self, stem: str, endings: Sequence[str]) -> str:
        """``stem``, or the first of ``stem-2``, ``stem-3``, ... of which no file with any of ``endings`` is taken."""
        number, candidate = 1, stem
        while any(_key(self.folder / (candidate + ending)) in self._taken for ending in endings):
            number += 1
            candidate = f"{stem}-{number}"
        self._taken |= {_key(self.folder / (candidate + ending)) for ending in endings}
        return candidate
