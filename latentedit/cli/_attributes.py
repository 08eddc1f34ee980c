"""Options that name attributes: ``--age +10``, whatever attributes the model has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import click

from latentedit.attributes import TABLE, canonical, get, nearest
from latentedit.cli._common import Command


class AttributeCommand(Command):
    """Reads ``--NAME NUMBER`` of any attribute, since which there are depends on the model."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {"-h": False, "--help": False}
        for param in self.params:
            flag = isinstance(param, click.Option) and (param.is_flag or param.count)
            takes_value |= dict.fromkeys((*param.opts, *param.secondary_opts), not flag)
        return super().parse_args(ctx, rewritten(args, takes_value))


def rewritten(args: Sequence[str], takes_value: dict[str, bool]) -> list[str]:
    """``--age +15`` and ``--age=+15`` as ``--set age=+15`` where ``--age`` is no option of the command itself.

    ``takes_value`` says of every option of the command whether the next argument belongs to it.

    Raises:
        NoSuchOption: neither an option nor, for want of a number, an attribute.
    """
    rest, waiting = [], list(args)
    while waiting:
        arg = waiting.pop(0)
        name, equals, value = arg.partition("=")
        if arg == "--":
            return [*rest, arg, *waiting]
        if not arg.startswith("--") or name in takes_value:
            rest.append(arg)
            if takes_value.get(name) and not equals and waiting:
                rest.append(waiting.pop(0))
            continue
        if not equals:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else ""
        if not is_number(value):
            raise _no_option(name, value, takes_value)
        rest += ["--set", f"{name.removeprefix('--')}={value}"]
    return rest


def _no_option(name: str, value: str, options: Iterable[str]) -> click.UsageError:
    attribute = get(name.removeprefix("--"))
    if attribute is not None:
        given = f", not {value!r}" if value else ""
        return click.UsageError(f"{name} takes a number{given}: for example {name} {example(attribute.unit)}.")
    hint = did_you_mean(name, options)
    return click.UsageError(f"No such option: {name}.{hint} If it is an attribute, give it a number: {name} 0.8.")


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """The option or attribute that is spelt most like ``name``, as a question."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(options), n=1, cutoff=0.7)
    attribute = nearest(name.removeprefix("--"), [one.name for one in TABLE])
    if not close and attribute is not None:
        close = [f"--{attribute.replace('_', '-')}"]
    return f" Did you mean {close[0]}?" if close else ""


def example(unit: str) -> str:
    """An amount of a unit as one types it."""
    return {"years": "+10", "degrees": "-15"}.get(unit, "0.8")


def is_number(text: str) -> bool:
    """Whether ``text`` is a number; ``nan`` and ``inf`` are said to be none later, by name."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class Assignment(click.ParamType):
    """``NAME=NUMBER``."""

    name = "name=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        if not name or not is_number(number):
            self.fail(f"{value!r} is not of the form NAME=NUMBER, such as smile=2.", param, ctx)
        if not math.isfinite(float(number)):
            raise click.UsageError(f"{name}={number} is no finite number.", ctx)
        return name, float(number)


def once_each(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Amounts by attribute.

    Raises:
        UsageError: an attribute given twice, under whatever names: nobody can tell which one was meant.
    """
    amounts: dict[str, tuple[str, float]] = {}
    for name, amount in pairs:
        earlier = amounts.get(canonical(name))
        if earlier is not None:
            raise click.UsageError(f"{name} is given twice: {earlier[1]:g} and {amount:g}.")
        amounts[canonical(name)] = name, amount
    return dict(amounts.values())
