"""Run inside ThreadSanitizer: kernels built with it, called from several threads on shared inputs.

``races.py LIBRARY work`` renders and differentiates a small generator in four threads, each kernel on two threads of
its own, and compares with serial results. ``races.py LIBRARY collide`` lets two calls write into one buffer, which the
sanitiser must see.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from latentedit.cuda_ops import bias_act, launch, native
from latentedit.networks import Generator, GeneratorConfig

THREADS = 4


def use(library: Path) -> None:
    """Load ``library`` in place of the built one; it starts threads itself, as the sanitiser cannot see OpenMP's."""
    native.build = lambda target: library
    native._share_threads = lambda loaded: None
    native.load("cpu")


def work() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=32, z_dim=16, w_dim=16, mapping_layers=2, channel_base=1024, channel_max=32)
    generator = Generator(config).eval().requires_grad_(False)
    ws = torch.randn(THREADS, 1, generator.num_ws, 16)

    def one(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        w = ws[number % THREADS].clone().requires_grad_()
        image = generator.synthesis(w)
        return image.detach(), torch.autograd.grad(image.square().sum(), w)[0]

    serial = [one(number) for number in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        for number, found in enumerate(pool.map(one, range(4 * THREADS))):
            assert all(map(torch.equal, found, serial[number % THREADS])), number


def collide() -> None:
    x, y = torch.randn(64, 4096), torch.empty(64, 4096)
    launch.empty = lambda *shape, **options: y
    gate = threading.Barrier(2)

    def one() -> None:
        gate.wait()
        for _ in range(50):
            bias_act(x, act="lrelu")

    pair = [threading.Thread(target=one) for _ in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()


if __name__ == "__main__":
    torch.set_num_threads(1)  # of OpenMP's threads the sanitiser sees no order, and would find races in PyTorch
    torch.get_num_threads = lambda: 2
    use(Path(sys.argv[1]))
    {"work": work, "collide": collide}[sys.argv[2]]()
    print("finished", flush=True)
