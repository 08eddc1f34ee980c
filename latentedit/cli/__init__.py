"""The commands ``latentedit`` and ``latentedit-direction``: parse, call, report.

One file per command. A command's module is imported when the command is run or its own help is asked for, so that
``latentedit --help`` and ``latentedit --version`` load nothing heavy.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from latentedit import __version__
from latentedit.cli._common import reporting

# name -> one line of help. The module is latentedit.cli.<prefix><name>, the click command in it is called `command`.
COMMANDS: Mapping[str, str] = {
    "demo": "Align, invert, edit, mix and animate a photo; write everything into a folder.",
    "doctor": "Say what is installed, what is used, what is missing, and the remedy.",
    "generate": "Make faces from seeds.",
    "align": "Cut the faces out of photos as the generator expects them.",
    "invert": "Find the latents of the faces in photos.",
    "edit": "Change age, smile and more in a photo, and put the face back.",
    "mix": "Mix the faces of two photos, layer by layer.",
    "interpolate": "Film the way from face to face.",
    "mask": "Draw a face mask over the faces in photos.",
    "verify": "Say whether two photos show the same person.",
    "describe": "Say what the perception network sees in photos.",
    "convert": "Turn a checkpoint into a model folder or another format, and prove it.",
    "model": "List, show, add, download and remove models.",
}
DIRECTION_COMMANDS: Mapping[str, str] = {
    "fit": "Fit a direction to labelled latents.",
    "list": "List the directions of a model.",
    "show": "Show what a direction file says of itself.",
    "eval": "Measure a direction and draw its effect.",
    "import": "Read a direction of another project.",
    "remove": "Delete a direction of your own.",
    "discover": "Find directions without labels, and say what they do.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps, and imports a command when it is asked for."""

    def __init__(self, *args: Any, lazy: Mapping[str, str], prefix: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy
        self.prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="surrogateescape")  # names of files are bytes, and may be no UTF-8
        return super().main(*args, **kwargs)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if name not in self.lazy and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, list(self.lazy), n=1, cutoff=0.6)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module = import_module(f"latentedit.cli.{self.prefix}{cmd_name}")
        return module.command

    def invoke(self, ctx: click.Context) -> Any:
        with reporting(ctx):  # importing a command's module can fail, or be interrupted, too
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lazy.items()))


CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="latentedit")
def main() -> None:
    """Edit real faces by arithmetic on their StyleGAN latents.

    Start with `latentedit demo`; `latentedit COMMAND --help` explains a command.
    """


@click.group(cls=LazyGroup, lazy=DIRECTION_COMMANDS, prefix="direction_", context_settings=CONTEXT)
@click.version_option(__version__, prog_name="latentedit-direction")
def direction_main() -> None:
    """Fit, list, inspect, measure and import directions of latent space."""
