"""``latentedit-direction list`` and ``remove``: whose a direction is, what it hides, and how to be rid of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner, Result

from latentedit.cli import direction_main
from latentedit.directions import Direction
from latentedit.models import load_model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(direction_main, [str(argument) for argument in arguments])


def test_a_direction_that_hides_the_models_own_is_announced_listed_and_removed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_folder)
    theirs = Direction.load("smile", model)
    np.save(tmp_path / "smile.npy", np.eye(8)[0])
    made = run("import", tmp_path / "smile.npy", "--model", tiny_folder, "--probes", 4)
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("smile: a direction of W, norm 1\n")
    assert made.stderr == (
        "Note: 'smile' hides the model's own 'smile' from every later edit; `latentedit-direction remove smile` "
        "brings it back.\n"
    )
    again = run("import", tmp_path / "smile.npy", "--model", tiny_folder, "--probes", 4)
    assert again.stderr.startswith("Note: 'smile' replaces your earlier direction of that name.\nNote: 'smile' hides")
    listed = run("list", "--model", tiny_folder).stdout.splitlines()
    assert next(line for line in listed if line.startswith("smile")).endswith(
        "yours, hides the model's  imported from smile.npy"
    )
    assert next(line for line in listed if line.startswith("age")).rstrip().endswith("model")
    gone = run("remove", "Smiling", "--model", tiny_folder)  # an alias will do
    assert gone.exit_code == 0, gone.output
    assert gone.stdout == (
        f"removed {model.user_directions / 'smile.safetensors'}; the model's own 'smile' counts again\n"
    )
    torch.testing.assert_close(Direction.load("smile", model).normal, theirs.normal)


def test_what_came_with_the_model_stays(tiny_folder: Path) -> None:
    refused = run("remove", "age", "--model", tiny_folder)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: The direction 'age' came with the model 'tiny' and stays there.")
    unknown = run("remove", "agee", "--model", tiny_folder)
    assert unknown.exit_code == 1
    assert "Did you mean 'age'?" in unknown.stderr


def test_accuracy_comes_with_its_interval(tiny_folder: Path) -> None:
    """Twelve held-out samples, all on the right side, prove little."""
    model = load_model(tiny_folder)
    few = Direction("few", torch.ones(8), accuracy=1.0, settings={"held_out": 12, "labelled": 40})
    few.with_(fingerprint=model.fingerprint).save(model.user_directions / "few")
    line = next(line for line in run("list", "--model", tiny_folder).stdout.splitlines() if line.startswith("few"))
    assert "100.0 % (76 to 100)" in line
    assert line.endswith("yours   fitted on 40 latents")
    entries = json.loads(run("list", "--model", tiny_folder, "--json").stdout)["directions"]
    entry = next(one for one in entries if one["name"] == "few")
    assert entry["yours"] is True
    assert entry["accuracy_interval"][0] < 0.77
    run("remove", "few", "--model", tiny_folder)
