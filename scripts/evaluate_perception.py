"""Measure the perception network on the held-out crops of prepared faces.

    python scripts/evaluate_perception.py prepared -o report

Writes ``report.json`` and ``report.md`` and, with ``--sheets``, a contact sheet of the 64 worst cases of each head.
The sheets show photographs of people: keep them out of anything that is published. Without ``--weights`` the embedded
model's network is measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from latentedit.errors import LatentEditError


def table_of(figures: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = ["| bar | limit | measured | met |", "|---|---|---|---|"]
    for bar in figures["bars"]:
        value = "not measured" if bar["measured"] is None else f"{bar['measured']:.4g}"
        lines.append(f"| {bar['bar']} | {bar['limit']} | {value} | {'yes' if bar['met'] else 'NO'} |")
    lines += ["", "| age on utkface | n | MAE, years | bias |", "|---|---|---|---|"]
    for group, own in figures["age"].items():
        lines.append(f"| {group} | {own['n']} | {own['mae']:.2f} | {own['bias']:+.2f} |")
    lines += ["", "| attribute | set | n | positive | accuracy | balanced | ROC area | calibration error |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name, sets in figures["attributes"].items():
        for where, own in sets.items():
            if where != "groups":
                lines.append(f"| {name} | {where} | {_binary(own)} |")
    for name in ("smile", "makeup", "eyeglasses", "gender"):
        lines += ["", f"| {name} by group | n | positive | accuracy | balanced | ROC area | calibration error |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [f"| {group} | {_binary(own)} |" for group, own in figures["attributes"][name]["groups"].items()]
    for part in ("pose", "identity", "robustness", "behind_drawn_masks", "speed"):
        if part in figures:
            lines += [
                "",
                f"## {part.replace('_', ' ')}",
                "",
                "```json",
                json.dumps(_round(figures[part]), indent=1),
                "```",
            ]
    return "\n".join(lines) + "\n"


def _binary(own: dict[str, float]) -> str:
    shares = [own.get(key) for key in ("positive", "accuracy", "balanced", "roc_area", "calibration_error")]
    return " | ".join([str(own["n"]), *("" if value is None else f"{value:.3f}" for value in shares)])


def _round(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _round(entry) for key, entry in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def write_sheets(held: Any, folder: Path, names: tuple[str, ...]) -> None:
    """One contact sheet per head: 8 x 8 crops with what was said / what the label is."""
    from PIL import Image, ImageDraw

    from latentedit.evaluation.perception import worst_cases

    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        sheet = Image.new("RGB", (8 * 132, 8 * 146), "white")
        draw = ImageDraw.Draw(sheet)
        for position, (row, caption) in enumerate(worst_cases(held, name)):
            left, top = position % 8 * 132 + 2, position // 8 * 146 + 2
            crop = held.table.images([row])[0].permute(1, 2, 0).numpy()
            sheet.paste(Image.fromarray(crop), (left, top))
            draw.text((left + 2, top + 129), caption, fill="black")
        sheet.save(folder / f"{name}.png")


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.argument("prepared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--outdir", required=True, type=click.Path(path_type=Path))
@click.option(
    "--weights", type=click.Path(exists=True, path_type=Path), help="A perception.safetensors, or a checkpoint."
)
@click.option("--sheets", is_flag=True, help="Draw the worst cases of each head.")
def main(prepared: Path, outdir: Path, weights: Path | None, sheets: bool) -> None:
    from latentedit.evaluation.perception import report
    from latentedit.models import embedded_folder, load_network
    from latentedit.training.data.labels import read_faces

    try:
        network = load_network(weights or embedded_folder() / "perception.safetensors", kind="perception")
        figures, held = report(network, read_faces(prepared, teacher=False))  # pyright: ignore[reportArgumentType]
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error
    outdir.mkdir(parents=True, exist_ok=True)
    (outdir / "report.json").write_text(json.dumps(_round(figures), indent=1) + "\n", encoding="utf-8")
    text = table_of(figures)
    (outdir / "report.md").write_text(text, encoding="utf-8")
    click.echo(text.split("\n\n")[0])
    if sheets:
        heads = ("age", "yaw", "pitch", "smile", "makeup", "lipstick", "eyeglasses", "gender", "hat", "mask")
        write_sheets(held, outdir / "worst", heads)


if __name__ == "__main__":
    main()
