"""From a training run to a model folder that every command takes."""

from __future__ import annotations

from pathlib import Path

import torch

from latentedit.faces import CropTemplate
from latentedit.models import Model, save_model
from latentedit.networks.perception import PerceptionNetwork
from latentedit.training.generator.stages import load_run, newest_networks

LICENCE = "Research and non-commercial use; see MODEL_CARD.md."


def export_model(
    run_folder: Path,
    target: Path,
    *,
    name: str,
    template: CropTemplate,
    perception: PerceptionNetwork | None = None,
    card: str | None = None,
    licence: str = LICENCE,
) -> Model:
    """Write the weight averages of a run's last stage as a model folder in float16; returns what loads from it.

    Raises:
        ModelError: the run has no finished stage.
        OutputError: ``target`` cannot be written.
    """
    networks = newest_networks(load_run(run_folder))
    model = Model(
        name=name,
        generator=networks.generator.requires_grad_(False),
        encoder=networks.encoder,
        perception=perception,
        template=template,
        card=card,
        licence=licence,
    )
    return save_model(target, model, dtype=torch.float16)
