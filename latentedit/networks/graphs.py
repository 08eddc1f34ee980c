"""CUDA graphs of a synthesis network: repeated inference without the cost of launching kernels one by one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from latentedit.networks.synthesis import SynthesisNetwork


class GraphedSynthesis:
    """A frozen synthesis network whose kernels are recorded per batch size and then replayed; no gradients.

    Elsewhere than on a GPU it calls the network. Weights that change after a recording are noticed by their versions
    and recorded anew.

    Args:
        synthesis: the network, in evaluation mode.
        noise_mode: ``"const"`` or ``"none"``.
    """

    def __init__(self, synthesis: SynthesisNetwork, noise_mode: Literal["const", "none"] = "const") -> None:
        if synthesis.training:
            raise ValueError("synthesis is in training mode; call synthesis.eval() before recording it.")
        self.synthesis = synthesis
        self.noise_mode: Literal["const", "none"] = noise_mode
        self._recordings: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._stamp: tuple[tuple[int, int], ...] = ()

    @torch.no_grad()
    def __call__(self, ws: Tensor) -> Tensor:
        """Render ``ws`` [N, num_ws, w_dim] to images [N, img_channels, R, R], in memory of their own."""
        if ws.device.type != "cuda":
            return self.synthesis(ws, noise_mode=self.noise_mode)
        stamp = tuple((t.data_ptr(), t._version) for t in self.synthesis.state_dict(keep_vars=True).values())
        if stamp != self._stamp:
            self._recordings.clear()
            self._stamp = stamp
        key = tuple(ws.shape)
        if key not in self._recordings:
            self._recordings[key] = self._record(ws)
        graph, inputs, images = self._recordings[key]
        inputs.copy_(ws)
        graph.replay()
        return images.clone()

    def _record(self, ws: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        inputs = ws.detach().float().clone()
        stream = torch.cuda.Stream(ws.device)
        stream.wait_stream(torch.cuda.current_stream(ws.device))
        with torch.cuda.stream(stream):
            for _ in range(2):  # builds kernels, prepares weights, lets cuDNN choose
                self.synthesis(inputs, noise_mode=self.noise_mode)
        torch.cuda.current_stream(ws.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            images = self.synthesis(inputs, noise_mode=self.noise_mode)
        return graph, inputs, images
