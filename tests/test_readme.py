"""What the README shows exists: commands, options, names, files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

import latentedit
from latentedit.cli import COMMANDS, DIRECTION_COMMANDS, direction_main, main


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_links_and_pictures_are_files(root: Path, readme: str) -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in target]
    assert {"LICENSE", "CONTRIBUTING.md", "docs/edits.png"} <= set(targets)
    assert [target for target in targets if not (root / target).is_file()] == []


def test_every_command_is_shown(readme: str) -> None:
    table = [line for line in readme.splitlines() if line.startswith("| `latentedit")]
    words = set(re.findall(r"[a-z]+", " ".join(line.split("|")[1] for line in table)))
    assert {*COMMANDS, *DIRECTION_COMMANDS} <= words


def test_shown_command_lines_parse(readme: str) -> None:
    lines = re.findall(r"^(latentedit(?:-direction)?) (\w+) ([^#\n]+)", readme, flags=re.MULTILINE)
    assert len(lines) >= 3
    for program, name, arguments in lines:
        group = main if program == "latentedit" else direction_main
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), arguments.split()[0])
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        shown = set(re.findall(r"(?<!\S)--?[a-z]+", arguments))
        attributes = {"--age", "--smile"} if name == "edit" else set()
        assert shown <= known | attributes, (program, name)


def test_code_uses_public_names_only(readme: str) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    tree = ast.parse(block)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported <= set(latentedit.__all__)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert used <= imported | assigned
