"""The forward pass of a rosinality state dict, from the description of the format: plain loops, no layer of ours.

Legend: ``N`` images, ``I``/``O`` channels, ``r`` resolution. ``kernel`` buffers are applied as they are stored.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def random_state(
    channels: tuple[int, ...], *, w_dim: int, kernel: Tensor, layers: int = 2, lr: float = 0.01, seed: int = 0
) -> State:
    """A state dict of ``len(channels)`` resolutions from 4 px on; ``kernel`` is the blur's, of sum 1."""
    stream = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream)

    def convolution(head: str, fan_in: int, fan_out: int, size: int) -> State:
        return {
            f"{head}.conv.weight": draw(1, fan_out, fan_in, size, size),
            f"{head}.conv.modulation.weight": draw(fan_in, w_dim),
            f"{head}.conv.modulation.bias": 1 + 0.1 * draw(fan_in),
        }

    def styled(head: str, fan_in: int, fan_out: int) -> State:
        extra = {f"{head}.noise.weight": 0.1 * draw(1), f"{head}.activate.bias": 0.1 * draw(fan_out)}
        return convolution(head, fan_in, fan_out, 3) | extra

    def to_rgb(head: str, fan_in: int) -> State:
        return convolution(head, fan_in, 3, 1) | {f"{head}.bias": 0.1 * draw(1, 3, 1, 1)}

    state = {"input.input": draw(1, channels[0], 4, 4)}
    for i in range(layers):
        state |= {f"style.{i + 1}.weight": draw(w_dim, w_dim) / lr, f"style.{i + 1}.bias": 0.1 * draw(w_dim) / lr}
    state |= styled("conv1", channels[0], channels[0]) | to_rgb("to_rgb1", channels[0])
    for k, (before, after) in enumerate(pairwise(channels)):
        state |= styled(f"convs.{2 * k}", before, after) | styled(f"convs.{2 * k + 1}", after, after)
        state[f"convs.{2 * k}.conv.blur.kernel"] = kernel * 4
        state |= to_rgb(f"to_rgbs.{k}", after) | {f"to_rgbs.{k}.upsample.kernel": kernel * 4}
    for i in range(2 * len(channels) - 1):
        side = 4 << (i + 1) // 2
        state[f"noises.noise_{i}"] = draw(1, 1, side, side)
    return state


def style(state: State, z: Tensor, lr: float = 0.01) -> Tensor:
    """The mapping network: [N, w_dim] -> [N, w_dim]."""
    x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    i = 1
    while f"style.{i}.weight" in state:
        weight = state[f"style.{i}.weight"]
        x = F.linear(x, weight * (lr / math.sqrt(weight.shape[1])), state[f"style.{i}.bias"] * lr)
        x = F.leaky_relu(x, 0.2) * 2**0.5
        i += 1
    return x


def _filtered(x: Tensor, kernel: Tensor, pad: tuple[int, int]) -> Tensor:
    """``x`` padded (or cropped) alike on both axes, convolved with ``kernel``."""
    x = F.pad(x, [*pad, *pad])
    n, c, h, w = x.shape
    y = F.conv2d(x.reshape(n * c, 1, h, w), kernel.flip([0, 1])[None, None])
    return y.reshape(n, c, *y.shape[2:])


def _modulated(state: State, head: str, x: Tensor, w: Tensor, *, up: bool = False, demodulate: bool = True) -> Tensor:
    weight, matrix = state[f"{head}.conv.weight"], state[f"{head}.conv.modulation.weight"]
    i, k = weight.shape[2:4]
    s = F.linear(w, matrix / math.sqrt(matrix.shape[1]), state[f"{head}.conv.modulation.bias"])
    weight = weight / math.sqrt(i * k * k) * s[:, None, :, None, None]
    if demodulate:
        weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    rows = []
    for image, own in zip(x.split(1), weight, strict=True):
        if not up:
            rows.append(F.conv2d(image, own, padding=k // 2))
            continue
        blur = state[f"{head}.conv.blur.kernel"]
        p = (blur.shape[0] - 2) - (k - 1)
        y = F.conv_transpose2d(image, own.transpose(0, 1), stride=2)
        rows.append(_filtered(y, blur, ((p + 1) // 2 + 1, p // 2 + 1)))
    return torch.cat(rows)


def _styled(state: State, head: str, index: int, x: Tensor, w: Tensor, *, up: bool = False) -> Tensor:
    x = _modulated(state, head, x, w, up=up)
    x = x + state[f"{head}.noise.weight"] * state[f"noises.noise_{index}"]
    return F.leaky_relu(x + state[f"{head}.activate.bias"][None, :, None, None], 0.2) * 2**0.5


def _picture(state: State, head: str, x: Tensor, w: Tensor, before: Tensor | None) -> Tensor:
    y = _modulated(state, head, x, w, demodulate=False) + state[f"{head}.bias"]
    if before is None:
        return y
    kernel = state[f"{head}.upsample.kernel"]
    n, c, r, _ = before.shape
    spread = torch.zeros(n, c, r, 2, r, 2)
    spread[:, :, :, 0, :, 0] = before
    p = kernel.shape[0] - 2
    return y + _filtered(spread.reshape(n, c, 2 * r, 2 * r), kernel, ((p + 1) // 2 + 1, p // 2))


def render(state: State, ws: Tensor) -> Tensor:
    """Images [N,3,R,R] of ``ws`` [N,L,w_dim]."""
    x = state["input.input"].expand(len(ws), -1, -1, -1)
    x = _styled(state, "conv1", 0, x, ws[:, 0])
    image = _picture(state, "to_rgb1", x, ws[:, 1], None)
    k = 0
    while f"to_rgbs.{k}.bias" in state:
        x = _styled(state, f"convs.{2 * k}", 2 * k + 1, x, ws[:, 2 * k + 1], up=True)
        x = _styled(state, f"convs.{2 * k + 1}", 2 * k + 2, x, ws[:, 2 * k + 2])
        image = _picture(state, f"to_rgbs.{k}", x, ws[:, 2 * k + 3], image)
        k += 1
    return image
