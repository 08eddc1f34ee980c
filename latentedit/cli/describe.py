"""`latentedit describe`: what the perception network sees in photos."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from latentedit.attributes import find
from latentedit.cli._common import (
    PHOTO,
    Command,
    device_option,
    face_option,
    max_pixels_option,
    model_option,
    progress,
)

_FIXED = "*"
"""Marks what is seen but cannot be edited."""
_ALWAYS = ("smile", "makeup", "lipstick", "eyeglasses", "gender", "hat", "mask")


@click.command(cls=Command)
@click.argument("photos", nargs=-1, required=True, type=PHOTO, metavar="PHOTO...")
@face_option
@click.option("--json", "as_json", is_flag=True, help="Print everything that is seen as JSON.")
@model_option
@device_option
@max_pixels_option
def command(
    photos: tuple[Path, ...], face: int | str, as_json: bool, model: str | None, device: str, max_pixels: int
) -> None:
    """Say what the perception network sees in PHOTO...: age, attributes, head pose.

    Ages are in years, angles in degrees relative to the upright face, attributes are probabilities. The judgements are
    a small network's, learnt from photographs of a few data sets: expect mistakes, and take none for a fact.
    """
    from latentedit.cli._perceive import find_faces, perceive
    from latentedit.directions import list_directions
    from latentedit.models import load_model

    owner = load_model(model, device=device)
    network = owner.require("perception")
    known = list_directions(owner)
    findings: list[dict[str, Any]] = []
    with progress("Looking", total=len(photos)) as bar:
        for photo in photos:
            faces = find_faces(network, photo, face, max_pixels)
            seen = perceive(network, faces)
            for index, aligned in enumerate(faces):
                number = index + 1 if face == "all" else int(face)
                corners = [[round(value, 1) for value in corner] for corner in aligned.quad.tolist()]
                scores = {name: round(float(value[index]), 3) for name, value in seen.scores().items()}
                findings.append({"photo": str(photo), "face": number, "quad": corners, "scores": scores})
            bar.advance()
    if as_json:
        editable = [name for name in network.units if find(name, known) is not None]
        click.echo(json.dumps({"units": network.units, "editable": editable, "faces": findings}, indent=2))
        return
    for finding in findings:
        click.echo(f"{finding['photo']}, face {finding['face']}")
        for line in _lines(finding["scores"], known):
            click.echo(f"  {line}")
    if known:
        click.echo(f"{_FIXED} not to be edited: {owner.name} has no direction for it")


def _lines(scores: dict[str, float], known: Collection[str]) -> list[str]:
    """Readable lines: age and pose, the main attributes, then whatever else is likely; those that no direction of
    ``known`` changes are marked."""

    def name(attribute: str) -> str:
        fixed = _FIXED if known and find(attribute, known) is None else ""
        return attribute.replace("_", " ") + fixed

    pose = ", ".join(f"{name(axis)} {scores[axis]:+.0f}" for axis in ("yaw", "pitch", "roll"))
    lines = [f"{name('age'):<12}{scores['age']:.0f} years", f"{'pose':<12}{pose} degrees"]
    lines += [f"{name(one):<12}{100 * scores[one]:.0f} %" for one in _ALWAYS if one in scores]
    shown = {"age", "yaw", "pitch", "roll", *_ALWAYS}
    likely = sorted((n for n in scores if n not in shown and scores[n] >= 0.5), key=lambda n: -scores[n])
    if likely:
        lines.append(f"{'also':<12}" + ", ".join(f"{name(one)} {100 * scores[one]:.0f} %" for one in likely))
    return lines
