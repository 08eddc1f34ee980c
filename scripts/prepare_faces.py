"""Align the faces of folders or zips of photos into shards that training reads fast.

    python scripts/prepare_faces.py faces/*.zip -o prepared

Every source may hold a ``labels.csv`` whose column ``file`` names the photos. Photos that give no usable crop are left
out and the reasons counted. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from latentedit.errors import LatentEditError
from latentedit.faces.dataset import TIGHT, FaceSource, PrepareConfig, prepare
from latentedit.faces.descriptors import describe_shards
from latentedit.faces.masked import mask_shards
from latentedit.faces.template import CropTemplate

HELD_SHARES = {"lfw": 0.25, "facemask": 1.0}
MASKED = {"facemask": {"detector": "auto", "max_overshoot": 0.3, "guess": True}}


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--outdir", required=True, type=click.Path(path_type=Path), help="Folder for the shards.")
@click.option("--size", default=128, show_default=True, help="Side of the crops in pixels.")
@click.option("--scale", default=TIGHT.scale, show_default=True, help="Half-side relative to the FFHQ crop.")
@click.option("--shift", default=TIGHT.shift, show_default=True, help="Move down, in eye-to-mouth lengths.")
@click.option("--held", default=0.08, show_default=True, help="Share held out by file (lfw 0.25 of the persons).")
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--masks", is_flag=True, help="Instead, draw masks on a quarter of train and all of held.")
@click.option("--descriptors", is_flag=True, help="Instead, add dlib's face descriptors to shards that lack them.")
def main(
    sources: tuple[Path, ...],
    outdir: Path,
    size: int,
    scale: float,
    shift: float,
    held: float,
    jobs: int,
    masks: bool,
    descriptors: bool,
) -> None:
    config = PrepareConfig(template=CropTemplate(scale, shift), size=size, held_share=held)
    overrides: dict[str, dict[str, Any]] = {name: {"held_share": share} for name, share in HELD_SHARES.items()}
    for name, changes in MASKED.items():
        overrides.setdefault(name, {}).update(changes)
    totals: dict[str, Counter[str]] = {}
    found = [FaceSource(path) for path in sources]
    if masks:
        for name, count in mask_shards([source.name for source in found], outdir, jobs=jobs):
            click.echo(f"{name}: {count}")
        return
    if descriptors:
        for name in describe_shards(found, outdir, config, jobs):
            click.echo(name)
        return
    try:
        for shard, done, count, reasons in prepare(found, outdir, config, overrides=overrides, jobs=jobs):
            totals.setdefault(shard.rsplit("-", 1)[0], Counter()).update(reasons)
            click.echo(f"{shard}  {done}/{count}  " + ", ".join(f"{k}: {v}" for k, v in reasons.most_common()))
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error
    for name, reasons in totals.items():
        total = sum(reasons.values())
        click.echo(f"{name}: {total} photos, " + ", ".join(f"{k}: {v / total:.1%}" for k, v in reasons.most_common()))


if __name__ == "__main__":
    main()
