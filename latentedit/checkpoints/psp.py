"""Checkpoints of the pSp family (pSp, e4e, ReStyle): a rosinality generator and an encoder in one ``.pt``.

The encoder is planned by the shapes of its tensors, which are read only when it is built. One that is not supported
costs itself, never the generator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from latentedit.checkpoints.checkpoint import Checkpoint, Part, State, TensorReader, shape_of
from latentedit.checkpoints.pickles.stand_ins import Record
from latentedit.checkpoints.rosinality import from_rosinality
from latentedit.errors import ModelError
from latentedit.networks.config import GeneratorConfig
from latentedit.networks.psp_encoder import PspEncoderConfig

_PREFIX = "encoder."
_CONVOLUTIONS = {4: 16, 5: 32, 6: 64}
"""Convolutions of a style's head, and the pixels of the feature map that so many bring down to one."""

Shapes = Mapping[str, tuple[int, ...]]


def is_psp(value: Any) -> bool:
    """Whether a dictionary is a checkpoint of this family."""
    state = value.get("state_dict") if isinstance(value, dict) else None
    return isinstance(state, dict) and any(isinstance(key, str) and key.startswith("decoder.") for key in state)


def read_psp(value: dict[str, Any], read: TensorReader) -> Checkpoint:
    """Generator and encoder of the checkpoint ``value``; ``notes`` say where the encoder was left out, and why."""
    average = read(value["latent_avg"], "latent_avg") if value.get("latent_avg") is not None else None
    state, options = value["state_dict"], _options(value.get("opts"))
    decoder = from_rosinality(read.all(state, "decoder."), average, read.origin)
    notes, encoder = decoder.notes, None
    if any(isinstance(key, str) and key.startswith(_PREFIX) for key in state):
        try:
            config = _plan(_shapes(state), options, decoder.generator.config, read.origin)
        except ModelError as error:
            notes += (f"the encoder was left out: {error.problem.rstrip('.')}",)
        else:
            w_avg = decoder.generator.state["mapping.w_avg"]
            base = _base(w_avg if average is None else average, config, options)
            encoder = Part("PspEncoder", config, lambda: _tensors(read.all(state, _PREFIX), config, base))
    return Checkpoint("pSp-family .pt, StyleGAN2 and encoder", decoder.generator, encoder, notes)


def _options(opts: Any) -> dict[str, Any]:
    """The training options, from a dictionary or an ``argparse.Namespace``."""
    values = opts.state if isinstance(opts, Record) else opts
    return values if isinstance(values, dict) else {}


def _shapes(state: dict[Any, Any]) -> Shapes:
    found = {key: shape_of(value) for key, value in state.items() if isinstance(key, str) and key.startswith(_PREFIX)}
    return {key.removeprefix(_PREFIX): shape for key, shape in found.items() if shape is not None}


def _plan(shapes: Shapes, options: dict[str, Any], generator: GeneratorConfig, origin: str) -> PspEncoderConfig:
    """The configuration that the encoder's tensors fit, for ``generator``.

    Raises:
        ModelError: an encoder of another kind.
    """
    stem = shapes.get("input_layer.0.weight", ())
    if len(stem) != 4 or "body.0.res_layer.1.weight" not in shapes:
        raise _unsupported(origin, "its backbone is not IR-SE50")
    width, channels = stem[:2]
    if channels not in (1, 3, 6):
        raise _unsupported(origin, f"it takes {channels} channels, which photos do not have")
    single = not any(name.startswith("styles.") for name in shapes)
    linear = shapes.get("linear.weight" if single else "styles.0.linear.weight", ())
    if len(linear) != 2 or any(name.startswith("output_layer") for name in shapes):
        raise _unsupported(origin, "it has neither a head for each style nor one for all")
    sizes = () if single else _sizes(shapes, origin)
    if (len(sizes) or generator.num_ws, linear[0]) != (generator.num_ws, generator.w_dim):
        raise _unsupported(
            origin,
            f"it gives {len(sizes)} styles of {linear[0]}, and the generator takes {generator.num_ws} of "
            f"{generator.w_dim}",
        )
    return PspEncoderConfig(
        generator.num_ws,
        sizes,
        w_dim=linear[0],
        progressive=not single and _is_progressive(options),
        iterative=channels == 6,
        width=width,
        single=single,
        channels=1 if channels == 1 else 3,
    )


def _unsupported(origin: str, why: str) -> ModelError:
    return ModelError(f"The encoder in {origin} is of a kind that is not supported, since {why}.", None)


def _sizes(shapes: Shapes, origin: str) -> tuple[int, ...]:
    """The feature map that each style is read from, told by the number of its head's convolutions."""
    counts: dict[int, int] = {}
    for name in shapes:
        match = re.fullmatch(r"styles\.(\d{1,3})\.convs\.\d{1,2}\.weight", name)
        if match is not None:
            counts[int(match[1])] = counts.get(int(match[1]), 0) + 1
    lateral = "latlayer1.weight" in shapes
    known = set(counts.values()) <= set(_CONVOLUTIONS) and (lateral or set(counts.values()) == {4})
    if set(counts) != set(range(len(counts))) or not known:
        raise _unsupported(origin, "it reads styles from feature maps of unknown sizes")
    return tuple(_CONVOLUTIONS[counts[i]] for i in range(len(counts)))


def _is_progressive(options: dict[str, Any]) -> bool:
    """Whether styles are offsets from the first: by the encoder's name, else by e4e's training options."""
    kind = options.get("encoder_type")
    if isinstance(kind, str):
        return "4Editing" in kind or "Progressive" in kind
    return any(name.startswith(("delta_norm", "progressive_")) for name in options if isinstance(name, str))


def _base(average: torch.Tensor, config: PspEncoderConfig, options: dict[str, Any]) -> torch.Tensor:
    """What the encoder's output is added to, [L, w_dim]."""
    rows = average.reshape(-1, config.w_dim)
    rows = torch.zeros_like(rows) if options.get("start_from_latent_avg") is False else rows
    return (rows[:1] if config.single else rows).expand(config.num_ws, -1).clone()


def _tensors(state: State, config: PspEncoderConfig, base: torch.Tensor) -> State:
    state["latent_avg"] = base
    if config.iterative:  # the average face, which `loading` renders once the generator stands
        state["average_image"] = torch.zeros(3, config.resolution, config.resolution)
    return state
