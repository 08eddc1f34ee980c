"""What the commands share: options, the way failures are reported, and progress on a terminal.

A command is written as::

    @click.command(cls=Command)
    @click.argument("photo", type=PHOTO)
    @model_option
    @device_option
    @seed_option
    def command(photo: Path, model: str | None, device: str, seed: int) -> None: ...

`Command` adds ``--debug`` and turns exceptions into one line on stderr and the exit status: 2 for bad usage, 1 for a
failure, 130 for Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from latentedit.cli._types import Face, InputFile, Megapixels, OutputFile, QualityType, Seeds
from latentedit.errors import LatentEditError, OutputError
from latentedit.files import is_special

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_DEBUG = "latentedit.debug"
_F = TypeVar("_F", bound=Callable[..., Any])


@contextmanager
def reporting(ctx: click.Context) -> Iterator[None]:
    """Turn what goes wrong inside into one line on stderr and an exit status; with ``--debug`` let it through."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged metadata, which is left out
        try:
            yield
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            click.echo("Aborted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except LatentEditError as error:
            if ctx.meta.get(_DEBUG):
                raise
            raise click.ClickException(" ".join(error.for_command_line().split())) from None
        except BrokenPipeError:
            raise  # the reader of a pipe went away: click ends quietly
        except Exception as error:
            if ctx.meta.get(_DEBUG):
                raise
            what = f"{type(error).__name__}: {_one_line(error)}"
            raise click.ClickException(f"Unexpected {what} (run again with --debug for the traceback)") from None


class Command(click.Command):
    """A click command with ``--debug`` whose failures are one line on stderr."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--debug"], is_flag=True, is_eager=True, expose_value=False, callback=_remember_debug,
                help="Show the traceback of a failure.",
            )
        )  # fmt: skip

    def invoke(self, ctx: click.Context) -> Any:
        with reporting(ctx):
            return super().invoke(ctx)


def _remember_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {' '.join(str(message).split())}", err=True)


# --- options ------------------------------------------------------------------------------------------------------

PHOTO = InputFile()


def _device(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """``cuda`` where there is one, else ``cpu``; refuse a device that this machine lacks."""
    import torch

    if value is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(value)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = _one_line(error).split(". ")[0]
        raise click.BadParameter(f"{value!r} cannot be used here ({reason}). Try --device cpu.") from None
    return str(device)


def _writable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Find out before the work, not after it, that the result cannot be written."""
    if value is not None:
        place = value if value.is_dir() else value.parent
        while not place.exists():
            place = place.parent
        if is_special(value):
            raise click.ClickException(
                f"Cannot write {str(value)!r}: it is a pipe or a device. Choose the name of a file."
            )
        if not place.is_dir() or not os.access(place, os.W_OK):
            problem = f"Cannot write {str(value)!r}: {str(place)!r} is not a folder that you may write to."
            error = OutputError(problem, "Choose another -o.")
            raise click.ClickException(str(error))
    return value


model_option = click.option(
    "--model", metavar="NAME|FOLDER|CHECKPOINT", help="The generator to use.  [default: ffhq, else faces64]"
)
device_option = click.option(
    "--device", metavar="DEVICE", callback=_device, help="cpu, cuda, cuda:1, ...  [default: cuda if there is one]"
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Same seed, same result."
)
seeds_option = click.option("--seeds", type=Seeds(), metavar="SEEDS", default="0-9", show_default=True,
                            help="Which faces to make: 0-9,17.")  # fmt: skip
face_option = click.option(
    "--face", type=Face(), default="1", show_default=True, help="Which face: 1 = the largest, 2, ..., or all."
)
quality_option = click.option(
    "--quality", type=QualityType(), metavar="1-100|lossless",
    help="Of .jpg, .webp and .avif.  [default: lossless where the kind can be, else 95]",
)  # fmt: skip
max_pixels_option = click.option(
    "--max-pixels", type=Megapixels(), default="250", show_default=True, metavar="MILLIONS",
    help="The largest photo to open, in million pixels. Editing takes about 16 MB of memory for each.",
)  # fmt: skip


def _place(names: tuple[str, str], kind: click.Path, default: str | None, text: str) -> Callable[[_F], _F]:
    given: dict[str, Any] = {"required": True} if default is None else {"default": default, "show_default": True}
    return click.option(*names, type=kind, callback=_writable, help=text, **given)


def outdir_option(
    default: str | None = None, text: str = "The folder to write into; it is made."
) -> Callable[[_F], _F]:
    """``-o/--outdir FOLDER`` as `Path`; without a default it is required."""
    return _place(("-o", "--outdir"), click.Path(file_okay=False, path_type=Path), default, text)


def output_option(default: str | None = None, text: str = "The file to write.") -> Callable[[_F], _F]:
    """``-o/--output FILE`` as `Path`, a folder as `Folder`; without a default it is required."""
    return _place(("-o", "--output"), OutputFile(), default, text)


# --- progress -----------------------------------------------------------------------------------------------------


class ProgressBar(Protocol):
    """What a command reports its progress to."""

    def advance(self, steps: float = 1) -> None: ...

    def update(self, completed: float, total: float | None = None, note: str = "") -> None: ...


class _Silent:
    def advance(self, steps: float = 1) -> None: ...

    def update(self, completed: float, total: float | None = None, note: str = "") -> None: ...


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[ProgressBar]:
    """A progress bar on stderr where that is a terminal; silence in a pipe."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, note="")

        class Bar:
            def advance(self, steps: float = 1) -> None:
                bar.advance(task, steps)

            def update(self, completed: float, total: float | None = None, note: str = "") -> None:
                bar.update(task, completed=completed, total=total, note=note)

        yield Bar()
