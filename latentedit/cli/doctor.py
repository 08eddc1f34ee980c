"""`latentedit doctor`: what is installed, what is used, what is missing, and the remedy."""

from __future__ import annotations

import json
import sys

import click

from latentedit.cli._checks import Check, examine
from latentedit.cli._common import Command

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("MISSING", "red")}


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Say what is installed, what is used, what is missing, and the remedy.

    The exit status is 0 when everything that the commands need is there, and 1 when something is missing. Notes tell
    of what could be better or faster; they do not change the exit status.
    """
    checks = list(examine())
    missing = [check for check in checks if check.status == "missing"]
    if as_json:
        findings = [check.to_dict() for check in checks]
        click.echo(json.dumps({"ok": not missing, "checks": findings}, indent=2))
    else:
        _print(checks)
        click.echo()
        click.echo(
            f"{len(missing)} missing; see the remedies above." if missing else "Everything that is needed is there."
        )
    sys.exit(1 if missing else 0)


def _print(checks: list[Check]) -> None:
    section = None
    for check in checks:
        if check.section != section:
            section = check.section
            click.echo(click.style(section, bold=True))
        mark, colour = _MARKS[check.status]
        click.echo(f"  {click.style(f'{mark:<8}', fg=colour)}{check.name:<26}{check.found}")
        if check.remedy:
            click.echo(f"  {'':<8}{'':<26}-> {check.remedy}")
