"""What the commands share: exit statuses, one-line failures, options, progress."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from latentedit.cli import COMMANDS, DIRECTION_COMMANDS, direction_main, main
from latentedit.cli._common import (
    Command,
    device_option,
    face_option,
    outdir_option,
    output_option,
    progress,
    seed_option,
    seeds_option,
)
from latentedit.errors import FaceError


def run(callback: Any, *arguments: str, options: tuple[Any, ...] = ()) -> Result:
    for option in options:
        callback = option(callback)
    return CliRunner().invoke(click.command(cls=Command)(callback), list(arguments))


def fail_with(error: BaseException) -> Any:
    def callback() -> None:
        raise error

    return callback


def test_failure_is_one_line_and_status_1() -> None:
    result = run(fail_with(FaceError("No face\nin 'a.jpg'.", "Use another photo.")))
    assert result.exit_code == 1
    assert result.stderr == "Error: No face in 'a.jpg'. Use another photo.\n"
    assert result.stdout == ""


def test_unexpected_failure_is_one_line_that_names_debug() -> None:
    result = run(fail_with(ZeroDivisionError("division\nby zero")))
    assert result.exit_code == 1
    expected = "Error: Unexpected ZeroDivisionError: division by zero (run again with --debug for the traceback)\n"
    assert result.stderr == expected


@pytest.mark.parametrize("error", [FaceError("No face."), ZeroDivisionError("x")])
def test_debug_lets_the_exception_through(error: Exception) -> None:
    result = run(fail_with(error), "--debug")
    assert result.exit_code == 1
    assert result.exception is error


def test_interruption_is_status_130() -> None:
    result = run(fail_with(KeyboardInterrupt()))
    assert (result.exit_code, result.stderr) == (130, "Aborted.\n")


def test_warnings_are_one_line_on_stderr() -> None:
    def callback() -> None:
        warnings.warn("slow\npath", stacklevel=1)
        click.echo("done")

    result = run(callback)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "done\n", "Warning: slow path\n")


def echo(**values: Any) -> None:
    for name, value in values.items():
        click.echo(f"{name}={value!r}")


@pytest.mark.parametrize(
    ("option", "arguments", "printed"),
    [
        (face_option, (), "face=1"),
        (face_option, ("--face", "2"), "face=2"),
        (face_option, ("--face", "all"), "face='all'"),
        (seed_option, (), "seed=0"),
        (seeds_option, ("--seeds", "0-2,17"), "seeds=[0, 1, 2, 17]"),
        (device_option, ("--device", "cpu"), "device='cpu'"),
        (outdir_option("out"), (), "outdir=PosixPath('out')"),
        (output_option("a.png"), ("-o", "b.png"), "output=PosixPath('b.png')"),
    ],
)
def test_option_values(option: Any, arguments: tuple[str, ...], printed: str) -> None:
    result = run(echo, *arguments, options=(option,))
    assert (result.exit_code, result.stdout) == (0, printed + "\n")


@pytest.mark.parametrize(
    ("option", "arguments", "text"),
    [
        (face_option, ("--face", "0"), "'0' is neither a number from 1 on"),
        (face_option, ("--face", "left"), "'left' is neither a number from 1 on"),
        (seed_option, ("--seed", "-1"), "-1 is not in the range 0<=x<=4294967295"),
        (seeds_option, ("--seeds", "9-0"), "9-0"),
        (device_option, ("--device", "toaster"), "'toaster' cannot be used here"),
        (device_option, ("--device", "cuda:99"), "'cuda:99' cannot be used here"),
        (outdir_option(), (), "Missing option '-o' / '--outdir'"),
    ],
)
def test_bad_option_is_status_2(option: Any, arguments: tuple[str, ...], text: str) -> None:
    result = run(echo, *arguments, options=(option,))
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("option", "inside"), [(outdir_option, "file/out"), (output_option, "file/out.png")])
def test_unwritable_place_is_refused_before_the_work(option: Any, inside: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = run(echo, "-o", str(tmp_path / inside), options=(option(),))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: Cannot write {str(tmp_path / inside)!r}: ")
    assert result.stderr.endswith("Choose another -o.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("inverting", total=3) as bar:
        bar.advance()
        bar.update(2, note="loss 0.1")
    assert capsys.readouterr() == ("", "")


def test_progress_shows_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("inverting", total=3) as bar:
        bar.update(2, note="loss 0.1")
    out, err = capsys.readouterr()
    assert out == ""
    assert "inverting" in err
    assert "2/3" in err
    assert "loss 0.1" in err


GROUPS = [(main, name) for name in COMMANDS] + [(direction_main, name) for name in DIRECTION_COMMANDS]


@pytest.mark.parametrize(("group", "name"), GROUPS, ids=[f"{group.name}-{name}" for group, name in GROUPS])
def test_every_listed_command_has_help_and_debug(group: click.Group, name: str) -> None:
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.stdout
    found = group.get_command(click.Context(group), name)
    assert isinstance(found, click.Command)
    assert found.help
    if not isinstance(found, click.Group):
        assert "--debug" in result.stdout


@pytest.mark.parametrize("group", [main, direction_main])
def test_unknown_command_and_option_are_status_2(group: click.Group) -> None:
    for arguments in (["nonsense"], ["--nonsense"]):
        result = CliRunner().invoke(group, arguments)
        assert result.exit_code == 2
        assert "nonsense" in result.stderr


def test_console_scripts_are_installed() -> None:
    for name in ("latentedit", "latentedit-direction"):
        program = Path(sys.executable).with_name(name)
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{name}, version ")
