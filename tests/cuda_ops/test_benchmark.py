"""The benchmark runs, measures memory, and compares things that compute the same."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from latentedit.networks import GeneratorConfig
from latentedit.networks.graphs import GraphedSynthesis

CONFIG = GeneratorConfig(resolution=16, w_dim=16, channel_base=256, channel_max=32)


@pytest.fixture(scope="module")
def benchmark(root: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("benchmark", root / "scripts" / "benchmark.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["benchmark"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_the_usual_formulation_renders_the_same(benchmark: ModuleType) -> None:
    network = benchmark.make_network(CONFIG, "cpu")
    ws = torch.randn(3, network.num_ws, 16)
    expected = network(ws)
    assert (benchmark.usual(network, ws) - expected).abs().max() / expected.abs().max() < 1e-5
    assert benchmark.agreement(network, "cpu") < 1e-5


def test_report(benchmark: ModuleType, tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    arguments = ["--resolution", "16", "--channel-base", "256", "--batch", "1", "--repeats", "2"]
    arguments += ["--no-operations", "--no-memory"]
    done = CliRunner().invoke(benchmark.main, [*arguments, "-o", str(output)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Largest difference of native and reference images" in done.output
    report = json.loads(output.read_text())
    assert [row["what"] for row in report["synthesis"]] == ["synthesis, batch 1", "inversion step, batch 1"]
    timing = report["synthesis"][0]["timings"]["native"]
    assert 0 < timing["low"] <= timing["median"] <= timing["high"]
    assert report["limits"]["bytes/s"] > 1e8


def test_peak_memory_counts_what_a_step_needs(root: Path) -> None:
    size = ["--resolution", "128", "--channel-base", "2048", "--batch", "4", "--device", "cpu"]
    # A process of its own, as the benchmark itself does: an allocator that is warm already hides the peak.
    command = [sys.executable, str(root / "scripts" / "benchmark.py"), "--memory-of", "usual", *size]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    layer = 4 * 16 * 128 * 128 * 4  # bytes of the activations that the last layers keep for the backward pass
    assert 2 * layer < int(done.stdout.split()[-1]) < 200 * layer


def test_variants_take_turns(benchmark: ModuleType) -> None:
    order: list[str] = []
    found = benchmark.measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, "cpu")
    assert order == ["a", "b"] * 4  # one round warms up
    assert found["a"].repeats == 3


def test_graphs_on_the_cpu_are_the_network_itself(benchmark: ModuleType) -> None:
    network = benchmark.make_network(CONFIG, "cpu")
    ws = torch.randn(2, network.num_ws, 16)
    assert torch.equal(GraphedSynthesis(network)(ws), network(ws))
    with pytest.raises(ValueError, match=r"call synthesis\.eval\(\)"):
        GraphedSynthesis(network.train())


def test_synthesis_compiles_to_one_graph(benchmark: ModuleType) -> None:
    network = benchmark.make_network(CONFIG, "cpu")
    ws = torch.randn(2, network.num_ws, 16, requires_grad=True)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    slopes = [torch.autograd.grad(f(ws).square().sum(), ws)[0] for f in (compiled, network)]
    torch.testing.assert_close(*slopes)
