"""``latentedit convert``: a checkpoint in another format, with a proof."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli._common import Command


@click.command(cls=Command)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["latentedit", "rosinality", "nvidia", "mobilestylegan"]),
    help="Format of OUT.  [default: for .pt and .ckpt that of others for this kind of network, else latentedit]",
)
@click.option("--half", is_flag=True, help="Store matrices as float16: half the size, rounded weights.")
def command(source: str, target: Path, to: str | None, half: bool) -> None:
    """Convert the model IN (any checkpoint, folder, or name) to OUT, and prove that the pictures are the same.

    OUT is a model folder, a .safetensors with the generator alone, or a .pt for other tools: rosinality's, or for a
    MobileStyleGAN its authors' (--to nvidia: a plain state dict with NVIDIA's names). Inversions and directions convert
    as well: to .npz, .npy, or .pt as the other projects write them.
    """
    from latentedit.models.export import export, is_exchangeable

    path = Path(source)
    if path.is_file() and is_exchangeable(path):
        click.echo(f"wrote {target} ({export(path, target)})")
        return
    _convert(source, target, to, half)


def _convert(source: str, target: Path, to: str | None, half: bool) -> None:
    import torch

    from latentedit.models.convert import convert

    for note in _notes(source):
        click.echo(f"note: {note}")
    dtype = torch.float16 if half else torch.float32
    worst = 0.0
    for proof in convert(source, target, to=to, dtype=dtype):  # type: ignore[arg-type]
        click.echo(f"seed {proof.seed}: largest difference {proof.difference:.3g}")
        worst = max(worst, proof.difference)
    click.echo(f"wrote {target}; largest difference of ten seeds {worst:.3g} of a range of 2")


def _notes(source: str) -> tuple[str, ...]:
    """What had to be assumed in reading a foreign file."""
    from latentedit.checkpoints.recognise import is_checkpoint_folder, is_safetensors, read_checkpoint
    from latentedit.files import read_metadata
    from latentedit.models.loading import locate
    from latentedit.models.network_file import FORMAT

    path = locate(source)
    if is_checkpoint_folder(path):
        checkpoint = read_checkpoint(path)
        return (checkpoint.kind, *checkpoint.notes)
    if path.is_dir() or (is_safetensors(path) and read_metadata(path).get("format") == FORMAT):
        return ()
    checkpoint = read_checkpoint(path)
    return (checkpoint.kind, *checkpoint.notes)
