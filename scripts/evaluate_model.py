"""Compute the figures of a model's card from its weights and held-out photos; write JSON, a table, and contact sheets.

    python scripts/evaluate_model.py prepared -o report --model faces64 --card latentedit/assets/faces64/MODEL_CARD.md

``--card`` replaces the table between the markers of that file. ``--history FILE`` keeps the figures of every model that
was measured, a line of JSON each, and sets the last other one's beside this one's. Sheets show held-out photos: keep
them to yourself.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import click
import torch
from _common import of_class, save_grid
from PIL import Image

import latentedit
from latentedit import edit, invert
from latentedit.directions import Direction, list_directions
from latentedit.errors import LatentEditError
from latentedit.evaluation.edits import (
    Photos,
    evaluate_directions,
    evaluate_edits,
    evaluate_inversion,
    evaluate_masks,
)
from latentedit.evaluation.generator import measure_samples, sample
from latentedit.files import atomic_path
from latentedit.images import save_image, to_pil, to_tensor
from latentedit.latents import seed_z
from latentedit.media import contact_sheet
from latentedit.models import Model, load_model
from latentedit.networks import PerceptionNetwork
from latentedit.training.data.crops import FaceCrops
from latentedit.training.face_teacher import DlibFaceNetwork

MORE = 10
"""How many times more photos go through the encoder alone, which takes no time, than are inverted and edited."""

MARKERS = ("<!-- figures: begin -->", "<!-- figures: end -->")


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("data", type=click.Path(file_okay=False, path_type=Path))
@click.option("-o", "--outdir", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", default="faces64", show_default=True)
@click.option(
    "--photos",
    "count",
    default=48,
    show_default=True,
    help="Held-out photos to invert and edit, and a quarter more with glasses.",
)
@click.option("--samples", default=10_000, show_default=True, help="Samples for the Fréchet distance.")
@click.option("--steps", default=200, show_default=True, help="Steps of the hybrid inversion.")
@click.option("--card", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Card whose table to renew.")
@click.option("--history", type=click.Path(dir_okay=False, path_type=Path), help="File of earlier figures, to go on.")
@click.option("--threads", type=int, help="CPU threads [PyTorch's choice].")
def main(
    data: Path,
    outdir: Path,
    model: str,
    count: int,
    samples: int,
    steps: int,
    card: Path | None,
    history: Path | None,
    threads: int | None,
) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        figures = evaluate(data, outdir, model, count, samples, steps)
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error
    with atomic_path(outdir / "figures.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    text = table(figures, {} if history is None else recorded(history, figures))
    click.echo(text)
    if card is not None:
        begin, end = map(re.escape, MARKERS)
        pattern = re.compile(f"({begin}\n).*?({end})", re.DOTALL)
        renewed = pattern.sub(lambda match: match[1] + text + match[2], card.read_text(encoding="utf-8"))
        with atomic_path(card) as temporary:
            temporary.write_text(renewed, encoding="utf-8")


def evaluate(data: Path, outdir: Path, name: str, count: int, samples: int, steps: int) -> dict[str, Any]:
    """Every figure, part by part; prints how long each took."""
    model = load_model(None if name == "faces64" else name)
    faces = FaceCrops(data, model.resolution, split="held")
    photos = Photos.choose(faces, count).joined(Photos.choose(faces, count // 4, label="eyeglasses"))
    judge = DlibFaceNetwork()
    folder = model.path
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) if folder else 0
    figures: dict[str, Any] = {
        "fingerprint": model.fingerprint,
        "resolution": model.resolution,
        "assets_mb": size / 1e6,
        "held_out": len(faces),
    }

    def timed(part: str, began: float) -> None:
        click.echo(f"{part}: {time.monotonic() - began:.0f} s", err=True)

    began = time.monotonic()
    network = of_class(model.require("perception"), PerceptionNetwork)
    figures["samples"] = measure_samples(model.generator, network, faces, samples, cnn=True)
    timed("samples", began)
    began = time.monotonic()
    many = Photos.choose(faces, count * MORE)
    encoded, _ = evaluate_inversion(model, many, judge, "encoder")
    hybrid, inversions = evaluate_inversion(model, photos, judge, "hybrid", steps)
    figures["inversion"] = {"encoder": encoded, "hybrid": hybrid}
    timed("inversion", began)
    save_grid(outdir / "samples.png", sample(model.generator, 96, 0.7), 16)
    save_image(direction_sheet(model), outdir / "directions.jpg")
    save_image(portrait_sheet(model), outdir / "portraits.jpg")
    rebuilt = to_tensor([inversion.image for inversion in inversions])
    save_grid(outdir / "inversions.png", torch.stack([photos.images, rebuilt], dim=1).flatten(0, 1), 16)
    began = time.monotonic()
    figures["directions"] = evaluate_directions(model)
    figures["edits"] = evaluate_edits(model, inversions, photos, judge)
    figures["masks"] = evaluate_masks(model, inversions, faces, judge, count * MORE)
    timed("edits", began)
    return figures


@torch.no_grad()
def direction_sheet(model: Model, seed: int = 4) -> Image.Image:
    """One face moved along every direction, from -3 to +3 standard deviations of the samples."""
    mapping, synthesis = model.generator.mapping, model.generator.synthesis
    samples = mapping(seed_z(range(500), model.generator.z_dim))
    start = mapping(seed_z(seed, model.generator.z_dim), truncation_psi=0.7)
    stops = range(-3, 4)
    rows, names = [], []
    for name, path in sorted(list_directions(model).items()):
        direction = Direction.load(path)
        spread = float(direction.distance(samples).std())
        moved = torch.cat([start + direction.displacement(start, stop * spread) for stop in stops])
        rows.append(to_pil(synthesis(moved)))
        names.append(name)
    return contact_sheet(rows, rows=names, columns=[f"{stop:+d}" for stop in stops], cell=64)


SHOWN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("+15 years", {"age": 15}),
    ("-15 years", {"age": -15}),
    ("no smile", {"smile": 0.05}),
    ("smile", {"smile": 0.95}),
    ("make-up", {"makeup": 0.9}),
    ("glasses", {"eyeglasses": 1}),
    ("mask", {"mask": 1}),
    ("turned", {"yaw": 15}),
)


PORTRAYED = 2
"""Faces shown of a portrait at most, the largest first: others stand in its background."""


def portrait_sheet(model: Model) -> Image.Image:
    """The faces of the shipped portraits, which may be shown: crop, encoder, hybrid, and edits of the last."""
    folder = Path(latentedit.__file__).parent / "assets" / "photos"
    known = list_directions(model)
    edits = [(name, amounts) for name, amounts in SHOWN if set(amounts) <= set(known)]
    rows = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".md":
            continue
        encoded = invert(path, model=model, method="encoder", face="all")[:PORTRAYED]
        for number, quick in enumerate(encoded, 1):
            found = invert(path, model=model, face=number)
            changed = [edit(found, model=model, **amounts).image for _, amounts in edits]
            rows.append([found.target, quick.image, found.image, *changed])
    return contact_sheet(rows, columns=["photo", "encoder", "hybrid", *(name for name, _ in edits)], cell=64)


def recorded(history: Path, figures: dict[str, Any]) -> dict[str, str]:
    """Add ``figures`` to ``history``, in the place of earlier ones of the same weights; returns the last others."""
    lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    others = [entry for entry in map(json.loads, lines) if entry["fingerprint"] != figures["fingerprint"]]
    own = {
        "fingerprint": figures["fingerprint"],
        "date": time.strftime("%Y-%m-%d"),
        "figures": dict(main_rows(figures)),
    }
    with atomic_path(history) as temporary:
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in [*others, own])
        temporary.write_text(text, encoding="utf-8")
    return others[-1]["figures"] if others else {}


def table(figures: dict[str, Any], before: dict[str, str]) -> str:
    """The figures as Markdown tables, with those of the model ``before`` where there was one."""
    rows = main_rows(figures)
    if before:
        lines = ["| what | measured | the model before |", "|---|---|---|"]
        lines += [f"| {name} | {value} | {before.get(name, '-')} |" for name, value in rows]
    else:
        lines = ["| what | measured |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    lines.append("")
    for method in ("encoder", "hybrid"):
        lines += [f"| {method}, by group | photos | MSE | same person |", "|---|---|---|---|"]
        groups = figures["inversion"][method]["groups"]
        lines += [f"| {g} | {v['photos']} | {v['mse']:.4f} | {v['same_person']:.0%} |" for g, v in groups.items()]
        lines.append("")
    return "\n".join(lines) + "\n"


def main_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and figures, as text."""
    rows: list[tuple[str, str]] = []
    samples, inversion = figures["samples"], figures["inversion"]
    rows.append(("dlib finds a face in samples, psi 0.7", f"{samples['faces_found_psi07']:.1%}"))
    if "faces_found_unmasked_psi07" in samples:
        rows.append(("the same, of samples without a mask", f"{samples['faces_found_unmasked_psi07']:.1%}"))
    if "faces_found_either_psi07" in samples:
        rows.append(("the same, by its CNN detector too", f"{samples['faces_found_either_psi07']:.1%}"))
    rows.append(("Fréchet multiple (1: as near as real photos)", f"{samples['frechet_multiple']:.1f}"))
    rows.append(("sharpness of samples (spectral energy against photos)", f"{samples['sharpness_samples']:.2f}"))
    for method in ("encoder", "hybrid"):
        values = inversion[method]
        rows.append((f"{method}: MSE on [-1,1]", f"{values['mse']:.4f} of {values['photos']}"))
        rows.append((f"{method}: same person by dlib (< 0.6)", f"{values['same_person']:.0%}"))
        rows.append((f"{method}: sharpness", f"{values['sharpness']:.2f}"))
        rows.append((f"{method}: one photo", f"{values['seconds_one_photo']:.2f} s"))
    for name, accuracy in figures["directions"].items():
        rows.append((f"direction {name}: held-out SVM accuracy", "-" if accuracy is None else f"{accuracy:.1%}"))
    for name, values in figures["edits"].items():
        same = f"same person {values['same_person']:.0%}"
        if "change_mean" in values:
            rows.append((name, f"{values['change_mean']:+.1f} +- {values['change_std']:.1f} years, {same}"))
        else:
            rows.append((name, f"{values['success']:.0%} of {values['tried']}, {same}"))
    if figures["masks"]:
        rows.append(("mask on, then off: SSIM to the start", f"{figures['masks']['on_off_ssim']:.2f}"))
        same = f"{figures['masks']['unmasked_same_person']:.0%}"
        rows.append(("drawn mask removed: same person as without", same))
    rows.append(("files", f"{figures['assets_mb']:.1f} MB"))
    return rows


if __name__ == "__main__":
    main()
