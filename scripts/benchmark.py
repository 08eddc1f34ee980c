"""Time the kernels and whole synthesis against the PyTorch reference in one run, and against the machine's limits.

    python scripts/benchmark.py -o benchmark.json
    python scripts/benchmark.py --device cuda --resolution 1024 --channel-base 32768 --reduced 4 --batch 1 --batch 8

Variants are interleaved, so that they share whatever else the machine does; medians with the quartiles around them.
"Limit" is the share of the measured copy bandwidth that was reached, or, for layers, of the measured matrix rate with
the products of the direct algorithm counted; an algorithm that multiplies less may exceed 100 %.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from latentedit.cuda_ops import (
    bias_act,
    downsample2d,
    reference_only,
    setup_filter,
    styled_conv,
    upfirdn2d,
    upsample2d,
)
from latentedit.cuda_ops.image_branch import upsample_add
from latentedit.networks import GeneratorConfig
from latentedit.networks.graphs import GraphedSynthesis
from latentedit.networks.synthesis import SynthesisNetwork

FILTER = setup_filter([1, 3, 3, 1])


@dataclass(frozen=True)
class Timing:
    """Seconds of one variant: median and quartiles over ``repeats``."""

    median: float
    low: float
    high: float
    repeats: int


def measure(variants: dict[str, Callable[[], Any]], repeats: int, device: str) -> dict[str, Timing]:
    """Time every variant ``repeats`` times, one after another in turns, after one round to warm up.

    ``device`` "cpu" counts elapsed seconds, "cpu-time" the processor's: on a busy machine, and with one thread, these
    are the ones to compare.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, call in variants.items():
            seconds = _seconds(call, device)
            if turn:
                times[name].append(seconds)
    result = {}
    for name, taken in times.items():
        low, median, high = statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else taken * 3
        result[name] = Timing(median, low, high, repeats)
    return result


def _seconds(call: Callable[[], Any], device: str) -> float:
    if device != "cuda":
        clock = time.perf_counter if device == "cpu" else time.process_time
        begin = clock()
        call()
        return clock() - begin
    begin_event, end_event = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin_event.record()
    call()
    end_event.record()
    torch.cuda.synchronize()
    return begin_event.elapsed_time(end_event) / 1e3


def on_reference(call: Callable[[], Any]) -> Callable[[], Any]:
    """``call`` without the native kernels."""

    def run() -> Any:
        with reference_only():
            return call()

    return run


def _place(device: str) -> str:
    return "cuda" if device == "cuda" else "cpu"


def limits(device: str, repeats: int) -> dict[str, float]:
    """Measured copy bandwidth in bytes/s (read plus written) and float32 matrix rate in operations/s."""
    size = 64 << 20 if device != "cuda" else 1 << 30
    place = _place(device)
    source = torch.empty(size // 4, device=place).normal_()
    target = torch.empty_like(source)
    a, b = (torch.randn(2048, 2048, device=place) for _ in range(2))
    found = measure({"copy": lambda: target.copy_(source), "matrix": lambda: a @ b}, repeats, device)
    return {"bytes/s": 2 * size / found["copy"].low, "operations/s": 2 * 2048**3 / found["matrix"].low}


def operations(device: str, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Any], float, float]]:
    """Name, call, bytes that must move, and operations of a direct algorithm; tensors of 64 MiB in float32."""
    pixels = 512 if device == "cpu" else 1024
    f = FILTER.to(device)
    for layout, suffix in ((torch.channels_last, ""), (torch.contiguous_format, ", NCHW")):

        def draw(channels: int, side: int, layout: torch.memory_format = layout) -> Tensor:
            return torch.randn(1, channels, side, side, device=device).to(dtype).contiguous(memory_format=layout)

        x, b = draw(64, pixels), torch.randn(64, device=device, dtype=dtype)
        half, padded, size = draw(64, pixels // 2), draw(64, pixels + 1), x.numel() * x.element_size()
        yield f"bias_act lrelu{suffix}", partial(bias_act, x, b, act="lrelu"), 2.0 * size, 0
        yield f"bias_act swish{suffix}", partial(bias_act, x, b, act="swish"), 2.0 * size, 0
        yield f"upfirdn2d blur{suffix}", partial(upfirdn2d, padded, f, padding=1), 2.0 * size, 0
        yield f"upfirdn2d up 2{suffix}", partial(upsample2d, half, f), 1.25 * size, 0
        yield f"upfirdn2d down 2{suffix}", partial(downsample2d, x, f), 1.25 * size, 0
    image, add = (torch.randn(8, 3, side, side, device=device).to(dtype) for side in (pixels // 2, pixels))
    size = add.numel() * add.element_size()
    yield "skip image: up 2 and add", partial(upsample_add, image, f, add), 2.25 * size, 0
    for up, channels, side in ((1, 64, 256), (1, 256, 64), (1, 512, 32), (2, 128, 128), (2, 512, 32)):
        layer, work = _layer(device, dtype, up, channels, side)
        yield f"layer {channels} x {side} px{', up 2' if up == 2 else ''}", layer, 0, work


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, as PyTorch keeps a GPU's memory.

    Results of 64 MiB would otherwise come from the system anew each time, and clearing their pages outweighs the
    operations, the more so where they are small pages, as the reference's are.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _layer(device: str, dtype: torch.dtype, up: int, channels: int, side: int) -> tuple[Callable[[], Any], float]:
    outputs = channels // up
    x = torch.randn(1, channels, side, side, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.nn.Parameter(torch.randn(outputs, channels, 3, 3, device=device), requires_grad=False)
    styles, bias = torch.randn(1, channels, device=device), torch.randn(outputs, device=device)
    noise, f = torch.randn(1, 1, side * up, side * up, device=device), FILTER.to(device)

    @torch.no_grad()
    def layer() -> Tensor:
        return styled_conv(x, weight, styles, bias=bias, noise=noise, resample_filter=f, up=up)

    return layer, 2.0 * 9 * channels * outputs * side * side


def make_network(config: GeneratorConfig, device: str) -> SynthesisNetwork:
    """A frozen network with random weights, noise and biases that matter."""
    torch.manual_seed(0)
    network = SynthesisNetwork(config).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.3)
        elif name.endswith("bias") and "affine" not in name:
            parameter.normal_()
    return network.to(device)


def usual(network: SynthesisNetwork, ws: Tensor) -> Tensor:
    """The common formulation, for comparison: weights modulated per image in one grouped convolution, NCHW, zeros
    inserted and filtered by a depthwise convolution, every step an operation of PyTorch. Skip architecture, float32.
    """
    n, index = len(ws), 0
    image = x = torch.empty(0)
    f = FILTER.to(ws.device)
    for r in network.config.resolutions:
        block: Any = getattr(network, f"b{r}")
        if r == 4:
            x = block.const.unsqueeze(0).repeat(n, 1, 1, 1)
        for layer in [block.conv1] if r == 4 else [block.conv0, block.conv1]:
            x = _usual_layer(layer, x, ws[:, index], f)
            index += 1
        rgb = block.torgb
        weight = rgb.weight * (rgb.affine(ws[:, index]) * rgb.weight_gain)[:, None, :, None, None]
        y = F.conv2d(x.reshape(1, -1, r, r), weight.flatten(0, 1), groups=n).reshape(n, -1, r, r)
        y = y + rgb.bias[:, None, None]
        image = y if r == 4 else _usual_filter(_zeros_between(image), f, 2, 1) + y
    return image


def _usual_layer(layer: Any, x: Tensor, w: Tensor, f: Tensor) -> Tensor:
    n, r, up = len(x), layer.resolution, layer.up
    weight = layer.weight * layer.affine(w)[:, None, :, None, None]
    weight = weight * (weight.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, -1, *x.shape[2:])
    if up == 1:
        x = F.conv2d(x, weight.flatten(0, 1), padding=1, groups=n).reshape(n, -1, r, r)
    else:
        x = F.conv_transpose2d(x, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
        x = _usual_filter(x.reshape(n, -1, *x.shape[2:]), f, 1, 1)
    x = x + layer.noise_const * layer.noise_strength
    return F.leaky_relu(x + layer.bias[:, None, None], 0.2) * 2**0.5


def _zeros_between(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return F.pad(x.reshape(n, c, h, 1, w, 1), [0, 1, 0, 0, 0, 1]).reshape(n, c, 2 * h, 2 * w)


def _usual_filter(x: Tensor, f: Tensor, before: int, after: int) -> Tensor:
    x = F.pad(x, [before, after, before, after])
    return F.conv2d(x, (4 * f).expand(x.shape[1], 1, 4, 4).contiguous(), groups=x.shape[1])


Job = Callable[[], Any]


def jobs(network: SynthesisNetwork, batch: int, device: str, backward: bool, graphs: bool) -> dict[str, Job]:
    """Variants of rendering ``batch`` latents, or of one step of an inversion (forward, and backward to ``ws``)."""
    ws = torch.randn(batch, network.num_ws, network.w_dim, device=device)

    def job(render: Callable[[Tensor], Tensor]) -> Job:
        def run() -> Any:
            if not backward:
                with torch.no_grad():
                    return render(ws)
            leaf = ws.clone().requires_grad_()
            return torch.autograd.grad(render(leaf).square().mean(), leaf)

        return run

    variants = {"native": job(network), "reference": on_reference(job(network))}
    if network.config.architecture == "skip" and not network.config.reduced_res:
        variants["usual"] = job(lambda latents: usual(network, latents))
    if graphs:
        graphed = GraphedSynthesis(network)
        variants["graphs"] = lambda: graphed(ws)
    return variants


def agreement(network: SynthesisNetwork, device: str) -> float:
    """Largest difference of native and reference images as a share of the largest value."""
    ws = torch.randn(2, network.num_ws, network.w_dim, device=device)
    with torch.no_grad():
        native = network(ws)
        with reference_only():
            reference = network(ws)
    return float((native - reference).abs().max() / reference.abs().max())


def peak_memory(variant: str, arguments: list[str]) -> int:
    """Bytes that one inversion step needs beyond the weights, in a process of its own (CPU)."""
    command = [sys.executable, __file__, "--memory-of", variant, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.strip().splitlines()[-1])


def _print_memory_of(variant: str, network: SynthesisNetwork, batch: int, device: str) -> None:
    step = jobs(network, batch, device, backward=True, graphs=False)[variant]
    if device == "cuda":
        step()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        print(torch.cuda.max_memory_allocated() - before)
        return
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
    before = _status("VmRSS")
    for _ in range(2):
        step()
    print(_status("VmHWM") - before)


def _status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table; the first row's keys are the columns."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=max(Console().width, 140)).print(table)


def _milliseconds(timing: Timing) -> str:
    return f"{timing.median * 1e3:.2f} [{timing.low * 1e3:.2f}, {timing.high * 1e3:.2f}]"


def _operation_rows(device: str, dtype: torch.dtype, repeats: int, limit: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    if dtype == torch.float16 and device != "cuda":
        repeats = min(repeats, 3)  # the reference takes seconds
    for name, call, moved, work in operations(_place(device), dtype):
        found = measure({"native": call, "reference": on_reference(call)}, repeats, device)
        best = moved / limit["bytes/s"] if moved else work / limit["operations/s"]
        row: dict[str, Any] = {"what": f"{name}, {str(dtype).removeprefix('torch.')}"}
        row |= {f"{variant} ms": _milliseconds(timing) for variant, timing in found.items()}
        row["ratio"] = f"{found['reference'].median / found['native'].median:.2f}"
        comparable = moved or dtype == torch.float32
        row["limit"] = f"{100 * best / found['native'].median:.0f} %" if comparable else ""
        rows.append(row | {"timings": {variant: asdict(timing) for variant, timing in found.items()}})
    return rows


def _synthesis_rows(network: SynthesisNetwork, batches: list[int], device: str, repeats: int) -> list[dict[str, Any]]:
    rows = []
    for backward in (False, True):
        for batch in batches:
            graphs = device == "cuda" and not backward
            found = measure(jobs(network, batch, _place(device), backward, graphs), repeats, device)
            what = "inversion step" if backward else "synthesis"
            row: dict[str, Any] = {
                "what": f"{what}, batch {batch}",
                "images/s": f"{batch / found['native'].median:.2f}",
            }
            for variant, timing in found.items():
                row[f"{variant} ms"] = _milliseconds(timing)
                if variant != "native":
                    row[f"x {variant}"] = f"{timing.median / found['native'].median:.2f}"
            rows.append(row | {"timings": {variant: asdict(timing) for variant, timing in found.items()}})
    return rows


def _machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    if device == "cpu" and Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def _visible(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "timings"} for row in rows]


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--cpu-time", is_flag=True, help="Count processor seconds; for busy machines, with --threads 1.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads (default: PyTorch's).")
@click.option("--resolution", type=int, default=256, show_default=True)
@click.option("--channel-base", type=int, default=16384, show_default=True)
@click.option("--reduced", type=int, default=0, show_default=True, help="Top resolutions in float16.")
@click.option("--batch", "batches", type=int, multiple=True, default=[1, 4], show_default=True)
@click.option("--repeats", type=click.IntRange(2), default=7, show_default=True)
@click.option("--operations/--no-operations", "with_operations", default=True, help="Time single operations too.")
@click.option("--synthesis/--no-synthesis", "with_synthesis", default=True, help="Time whole synthesis and inversion.")
@click.option("--memory/--no-memory", "with_memory", default=True, help="Measure the peak memory too.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures as JSON.")
@click.option("--memory-of", type=click.Choice(["native", "reference", "usual"]), hidden=True)
def main(
    device: str,
    cpu_time: bool,
    threads: int | None,
    resolution: int,
    channel_base: int,
    reduced: int,
    batches: tuple[int, ...],
    repeats: int,
    with_operations: bool,
    with_synthesis: bool,
    with_memory: bool,
    output: Path | None,
    memory_of: str | None,
) -> None:
    """Time kernels and synthesis against the PyTorch reference and the machine's limits."""
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    config = GeneratorConfig(resolution=resolution, channel_base=channel_base, reduced_res=reduced)
    network = make_network(config, device)
    if memory_of:
        _print_memory_of(memory_of, network, batches[0], device)
        return
    clock = "cpu-time" if cpu_time and device == "cpu" else device
    limit = limits(clock, repeats)
    report: dict[str, Any] = {"machine": _machine(device), "clock": clock, "limits": limit, "config": asdict(config)}
    click.echo(
        f"{report['machine']}: copy {limit['bytes/s'] / 1e9:.1f} GB/s, {limit['operations/s'] / 1e9:.0f} GFLOP/s"
    )
    if with_synthesis:
        report["synthesis"] = _synthesis_rows(network, list(batches), clock, repeats)
        show(f"Synthesis, {resolution} px, channel base {channel_base}", _visible(report["synthesis"]))
        report["agreement"] = agreement(network, device)
        click.echo(f"Largest difference of native and reference images: {report['agreement']:.1e} of the largest value")
    if with_memory:
        arguments = ["--device", device, "--resolution", str(resolution), "--channel-base", str(channel_base)]
        arguments += ["--reduced", str(reduced), "--batch", str(batches[0])]
        arguments += ["--threads", str(threads)] if threads else []
        compared = ["native", "reference"] + ([] if reduced else ["usual"])
        report["peak_memory"] = {variant: peak_memory(variant, arguments) for variant in compared}
        memory = ", ".join(f"{variant} {size / 2**20:.0f} MiB" for variant, size in report["peak_memory"].items())
        click.echo(f"Peak memory of an inversion step, batch {batches[0]}, beyond weights: {memory}")
    if with_operations:
        if device == "cpu":
            keep_freed_memory()
        with torch.no_grad():
            dtypes = [torch.float32, torch.bfloat16, torch.float16]
            report["operations"] = [r for d in dtypes for r in _operation_rows(clock, d, repeats, limit)]
        show("Operations", _visible(report["operations"]))
    if output:
        output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
