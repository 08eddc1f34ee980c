"""A pickle of the size of FFHQ's generator opens quickly and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from foreign_files import write_nvidia

from latentedit.networks import Generator, GeneratorConfig

MEASURE = """
import json, resource, sys, time
import latentedit.checkpoints.recognise, latentedit.networks
from latentedit.models import load_generator

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before, start = peak(), time.process_time()
generator = load_generator(sys.argv[1])
weights = sum(parameter.numel() for parameter in generator.parameters())
print(json.dumps({"seconds": time.process_time() - start, "bytes": peak() - before, "weights": weights}))
"""


def test_thirty_million_weights_open_in_two_seconds_and_twice_their_size(tmp_path: Path) -> None:
    path = tmp_path / "ffhq.pkl"
    write_nvidia(path, Generator(GeneratorConfig(resolution=1024)).state_dict(), {})
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True, timeout=300
    )
    measured = json.loads(result.stdout)
    assert measured["weights"] > 30e6
    assert measured["seconds"] < 2  # processor time, so that a busy machine does not decide
    assert measured["bytes"] < 2.5 * path.stat().st_size
