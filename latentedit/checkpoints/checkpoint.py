"""What a foreign checkpoint holds, in our terms: `Checkpoint`, and the budget that its tensors may take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from latentedit.checkpoints.pickles.arrays import ArrayStub, TensorStub
from latentedit.errors import ModelError
from latentedit.networks.assembly import assemble, assemble_generator
from latentedit.networks.protocols import StyleEncoder, StyleGenerator

State = dict[str, torch.Tensor]


class Part:
    """A network to be: class name (a key of ``NETWORKS``), config, and state dict, which may be read when asked for."""

    def __init__(self, network: str, config: Any, state: State | Callable[[], State]) -> None:
        self.network = network
        self.config = config
        self._state = state

    @property
    def state(self) -> State:
        """Tensors by our names."""
        if callable(self._state):
            self._state = self._state()
        return self._state

    def build(self, origin: str) -> torch.nn.Module:
        """The network; names and shapes are checked first (see `latentedit.models.network_file.assemble`)."""
        return assemble(self.network, self.config, self.state, origin=origin)


@dataclass(frozen=True)
class Checkpoint:
    """A foreign file, read: ``kind`` is its description for people, ``notes`` what had to be assumed."""

    kind: str
    generator: Part
    encoder: Part | None = None
    notes: tuple[str, ...] = ()

    def build_generator(self, origin: str) -> StyleGenerator:
        """The generator, with names and shapes checked first."""
        part = self.generator
        return assemble_generator(part.network, part.config, part.state, origin=origin)

    def build_encoder(self, origin: str) -> StyleEncoder | None:
        """The encoder, if the file has one that is read."""
        built = None if self.encoder is None else self.encoder.build(origin)
        assert built is None or isinstance(built, StyleEncoder)
        return built


class TensorReader:
    """Turn stand-ins into float32 tensors, within a budget of bytes.

    One storage can be named by many tensors, so a small file could unfold without end; real checkpoints unfold to at
    most twice their size (float16 to float32) and a little.
    """

    def __init__(self, origin: str, size: int) -> None:
        self.origin = origin
        self.left = 3 * size + (16 << 20)

    def __call__(self, stub: Any, name: str) -> torch.Tensor:
        """The tensor of ``stub``; ``name`` is for the message when it is none."""
        if isinstance(stub, torch.Tensor):
            return stub.float() if stub.is_floating_point() else stub
        if isinstance(stub, TensorStub):
            count = math.prod(stub.size)
        elif isinstance(stub, ArrayStub) and stub.value is not None:
            count = stub.value.size
        else:
            raise ModelError(
                f"{self.origin} holds {name[:80]!r}, which is no tensor but {type(stub).__name__}.",
                "The file is damaged or of a variant that is not supported.",
            )
        self.left -= 4 * count
        if self.left < 0:
            raise ModelError(
                f"The tensors of {self.origin} unfold to far more than the file.", "Do not trust this file."
            )
        tensor = stub.tensor()
        return tensor.float() if tensor.is_floating_point() else tensor

    def all(self, values: Any, prefix: str = "") -> State:
        """The tensors of a flat dictionary whose keys start with ``prefix``, which is cut off."""
        if not isinstance(values, dict):
            raise ModelError(f"{self.origin} holds no dictionary of tensors.", "It is not supported.")
        chosen = {key: value for key, value in values.items() if isinstance(key, str) and key.startswith(prefix)}
        return {key.removeprefix(prefix): self(value, key) for key, value in chosen.items()}


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a stand-in or tensor, which costs nothing to know; None for anything else."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, TensorStub):
        return value.size
    return value.value.shape if isinstance(value, ArrayStub) and value.value is not None else None


def not_understood(origin: str, detail: str) -> ModelError:
    """The error for a file whose content is of no kind that is read."""
    return ModelError(
        f"{origin} holds no generator that can be read: {detail:.300}.",
        "Readable are NVIDIA and TensorFlow pickles of StyleGAN 1 to 3, rosinality and pSp-family .pt, checkpoints and "
        "graphs of MobileStyleGAN, and latentedit's own files.",
    )
