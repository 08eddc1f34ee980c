"""Checkpoints of the pSp family (pSp, e4e, ReStyle): a rosinality generator and an encoder in one ``.pt``."""

from __future__ import annotations

import re
from typing import Any

import torch

from latentedit.checkpoints.checkpoint import Checkpoint, Part, State, TensorReader, not_understood
from latentedit.checkpoints.pickles.stand_ins import Record
from latentedit.checkpoints.rosinality import from_rosinality
from latentedit.networks.psp_encoder import PspEncoderConfig

_CONVOLUTIONS = {4: 16, 5: 32, 6: 64}


def is_psp(value: Any) -> bool:
    """Whether a dictionary is a checkpoint of this family."""
    state = value.get("state_dict") if isinstance(value, dict) else None
    return isinstance(state, dict) and any(isinstance(key, str) and key.startswith("decoder.") for key in state)


def read_psp(value: dict[str, Any], read: TensorReader) -> Checkpoint:
    """Generator and encoder of the checkpoint ``value``."""
    average = read(value["latent_avg"], "latent_avg") if value.get("latent_avg") is not None else None
    decoder = from_rosinality(read.all(value["state_dict"], "decoder."), average, read.origin)
    theirs = read.all(value["state_dict"], "encoder.")
    notes, encoder = decoder.notes, None
    if theirs:
        options = _options(value.get("opts"))
        if "body.0.res_layer.1.weight" in theirs:
            encoder = _encoder(theirs, average, options, read.origin, w_avg=decoder.generator.state["mapping.w_avg"])
        else:
            notes += ("its encoder is of a kind that is not supported, and was left out",)
    return Checkpoint("pSp-family .pt, StyleGAN2 and encoder", decoder.generator, encoder, notes)


def _options(opts: Any) -> dict[str, Any]:
    """The training options, from a dictionary or an ``argparse.Namespace``."""
    values = opts.state if isinstance(opts, Record) else opts
    return values if isinstance(values, dict) else {}


def _encoder(
    state: State, average: torch.Tensor | None, options: dict[str, Any], origin: str, *, w_avg: torch.Tensor
) -> Part:
    counts: dict[int, int] = {}
    for name in state:
        match = re.fullmatch(r"styles\.(\d{1,3})\.convs\.\d{1,2}\.weight", name)
        if match is not None:
            counts[int(match[1])] = counts.get(int(match[1]), 0) + 1
    stem = state.get("input_layer.0.weight")
    linear = state.get("styles.0.linear.weight")
    if stem is None or stem.ndim != 4 or linear is None or linear.ndim != 2 or set(counts) != set(range(len(counts))):
        raise not_understood(origin, "its encoder is incomplete")
    lateral = "latlayer1.weight" in state
    if not set(counts.values()) <= set(_CONVOLUTIONS) or (not lateral and set(counts.values()) != {4}):
        raise not_understood(origin, "its encoder reads styles from feature maps of unknown sizes")
    kind = options.get("encoder_type")
    config = PspEncoderConfig(
        num_ws=len(counts),
        sizes=tuple(_CONVOLUTIONS[counts[i]] for i in range(len(counts))),
        w_dim=linear.shape[0],
        progressive=_is_progressive(kind, options, state),
        iterative=stem.shape[1] == 6,
        width=stem.shape[0],
    )
    base = w_avg if average is None else average
    base = torch.zeros_like(base) if options.get("start_from_latent_avg") is False else base
    state["latent_avg"] = base.reshape(-1, config.w_dim).expand(config.num_ws, -1).clone()
    if config.iterative:  # the average face, which `loading` renders once the generator stands
        state["average_image"] = torch.zeros(3, config.resolution, config.resolution)
    return Part("PspEncoder", config, state)


def _is_progressive(kind: Any, options: dict[str, Any], state: State) -> bool:
    """Whether styles are offsets from the first: by the encoder's name, else by e4e's training options."""
    if isinstance(kind, str):
        return "4Editing" in kind or "Progressive" in kind
    return any(name.startswith(("delta_norm", "progressive_")) for name in options if isinstance(name, str))
