"""Train the perception network on prepared faces; a full run is

    python scripts/describe_faces.py prepared
    python scripts/train_perception.py prepared -o runs/perception --images 1000000 --processes 2 --export

An interrupted run goes on from its last checkpoint when started again with the same folder; its schedule is that of the
present options. ``metrics.jsonl`` and ``curves.png`` in that folder tell how it goes. ``--export`` calibrates the
averaged network on the validation crops and writes ``perception.safetensors`` (what the library loads) and
``start.safetensors`` there. The committed weights saw 1,120,000 crops, 190,000 of them in a first run, and then

    python scripts/train_perception.py prepared -o runs/perception --images 2000000 --minutes 60 --export \\
        --report 50000 --start scripts/state/faces64/perception.safetensors

which was interrupted and went on. That file now holds where it ended, for ``--start`` to go on from.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib import pyplot as plt

from latentedit.errors import LatentEditError
from latentedit.models import load_network, save_network
from latentedit.networks.perception import ATTRIBUTES, PerceptionConfig
from latentedit.training.data.labels import read_faces
from latentedit.training.perception.augment import AugmentConfig
from latentedit.training.perception.finish import (
    best_threshold,
    finish,
    pairs_of_persons,
    predict,
)
from latentedit.training.perception.recipe import MAIN_ATTRIBUTES, TrainingConfig
from latentedit.training.perception.trainer import PerceptionTrainer


def quick_report(network: Any, table: Any) -> dict[str, float]:
    """Validation figures of the main heads."""
    rows = table.where("valid", masked=None)
    plain = ~table.masked[rows]
    seen = predict(network, table, rows)
    figures = {"valid_age_mae": float(np.nanmean(np.abs(seen.scores["age"] - table.age[rows])[plain]))}
    for name in MAIN_ATTRIBUTES:
        labels = table.attributes[rows, ATTRIBUTES.index(name)]
        known = ~np.isnan(labels) & (plain | (name == "mask"))
        if not known.any():
            continue
        figures[f"valid_{name}"] = float(((seen.scores[name][known] > 0.5) == (labels[known] > 0.5)).mean())
    for axis, name in enumerate(("yaw", "pitch")):
        error = np.abs(seen.scores[name] - table.pose[rows, axis])[plain]
        if not np.isnan(error).all():
            figures[f"valid_{name}_mae"] = float(np.nanmean(error))
    pairs, same = pairs_of_persons(table.person[rows][plain], 3000)
    if len(pairs):
        identity = seen.identity[plain]
        distances = np.linalg.norm(identity[pairs[:, 0]] - identity[pairs[:, 1]], axis=1)
        figures["valid_identity"] = best_threshold(distances, same)[1]
    return figures


def draw_curves(metrics: Path, picture: Path) -> None:
    """Plot every column of ``metrics`` against the crops seen, losses and validation figures apart."""
    columns: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in metrics.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in ("images", "seconds", "ms_per_image"):
                columns[name].append((row["images"], value))
    across = 5
    figure, axes = plt.subplots(-(-len(columns) // across), across, figsize=(4 * across, 2.6 * len(columns) / across))
    for axis, (name, points) in zip(np.ravel(axes), columns.items(), strict=False):
        axis.plot(*zip(*points, strict=True))
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=70)
    plt.close(figure)


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.argument("prepared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--outdir", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--images", default=1_000_000, show_default=True, help="Crops to see in all.")
@click.option("--minutes", type=float, help="End the schedule after this much training time if that is earlier.")
@click.option("--batch", default=64, show_default=True)
@click.option("--rate", default=2e-3, show_default=True, help="Peak learning rate.")
@click.option("--size", default=64, show_default=True, help="Side of the network's input.")
@click.option("--precision", default="bfloat16", type=click.Choice(["bfloat16", "float32"]), show_default=True)
@click.option("--report", "report_images", default=25_000, show_default=True, help="Crops between two reports.")
@click.option(
    "--repeat",
    "repeats",
    multiple=True,
    metavar="NAME=TIMES",
    help="How often a data set is drawn per pass (celeba10k=2).",
)
@click.option("--device", default="cpu", show_default=True)
@click.option("--processes", default=1, show_default=True, help="Processes (GPUs) that share every batch.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--start", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Weights to begin with, not folded."
)
@click.option("--export", is_flag=True, help="Calibrate and write perception.safetensors at the end.")
def main(outdir: Path, processes: int, repeats: tuple[str, ...], size: int, **options: Any) -> None:
    options["repeats"] = TrainingConfig().repeats | {n: float(t) for n, _, t in (r.partition("=") for r in repeats)}
    run = {name: options.pop(name) for name in ("prepared", "device", "export", "start")} | {"outdir": outdir}
    config = TrainingConfig(network=PerceptionConfig(size=size), augment=AugmentConfig(size=size), **options)
    outdir.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as meeting:
        context = torch.multiprocessing.get_context("spawn")
        for rank in range(1, processes):
            context.Process(target=work, args=(rank, processes, meeting, config, run), daemon=True).start()
        try:
            work(0, processes, meeting, config, run)
        except LatentEditError as error:
            raise click.ClickException(str(error)) from error


def work(rank: int, processes: int, meeting: str, config: TrainingConfig, run: dict[str, Any]) -> None:
    """One of ``processes`` that train together; process 0 reports, saves and exports."""
    device = f"cuda:{rank}" if run["device"] == "cuda" and processes > 1 else run["device"]
    if processes > 1:
        address = f"file://{meeting}/address"
        kind = "nccl" if device.startswith("cuda") else "gloo"
        torch.distributed.init_process_group(kind, init_method=address, rank=rank, world_size=processes)
    table = read_faces(run["prepared"])
    trainer = PerceptionTrainer(table, config, device=device, rank=rank, processes=processes)
    checkpoint, metrics = run["outdir"] / "checkpoint.pt", run["outdir"] / "metrics.jsonl"
    if checkpoint.exists():
        trainer.load(checkpoint)
    elif run["start"] is not None:
        trainer.start_from(load_network(run["start"], kind="perception"))
    if rank:
        for _ in trainer.run():
            pass
        return
    click.echo(describe_data(table, trainer))
    try:
        for row in trainer.run():
            row |= quick_report(trainer.average, table)
            with metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps({name: round(value, 5) for name, value in row.items()}) + "\n")
            click.echo(time.strftime("%H:%M:%S ") + "  ".join(f"{name} {value:.4g}" for name, value in row.items()))
            trainer.save(checkpoint)
            draw_curves(metrics, run["outdir"] / "curves.png")
    except KeyboardInterrupt:
        trainer.save(checkpoint)
        raise click.Abort from None
    if run["export"]:
        export_network(trainer.average, table, run["outdir"] / "perception.safetensors")


def describe_data(table: Any, trainer: Any) -> str:
    """Counts per data set and split, and how well landmarks tell the pose."""
    lines = []
    for name in np.unique(table.dataset):
        parts = [f"{split} {len(table.where(split, dataset=name))}" for split in ("train", "valid", "held")]
        masked = int(((table.dataset == name) & table.masked).sum())
        lines.append(f"{name}: {', '.join(parts)}, drawn masks {masked}")
    pose = trainer.targets.landmark_pose
    errors = "no pose labels" if pose is None else "yaw {:.1f}, pitch {:.1f} degrees".format(*pose.error)
    lines.append(f"pose from landmarks, error on validation crops: {errors}")
    lines.append(f"identity descriptors: {int((~np.isnan(table.identity[:, 0])).sum())}")
    return "\n".join(lines)


def export_network(network: Any, table: Any, path: Path) -> None:
    """Calibrate, fold and write ``network`` in half precision; beside it as it is, for a later run's ``--start``."""
    result = finish(network, table)
    save_network(path, result, dtype=torch.float16)
    save_network(path.with_name("start.safetensors"), network, dtype=torch.float16)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB, attributes {', '.join(result.config.attributes)}")


if __name__ == "__main__":
    main()
