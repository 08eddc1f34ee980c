"""One model, many threads: what they do together is, bit for bit, what each does alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import make_model
from torch import Tensor

from latentedit import edit, interpolate, invert, mix
from latentedit.directions import Calibration, Direction
from latentedit.images import to_pil
from latentedit.inversion import Inversion, InversionConfig
from latentedit.models import Model

THREADS = 8
Job = Callable[[], list[Tensor]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny model with the one direction that the jobs edit by."""
    folder = tmp_path_factory.mktemp("directions")
    tiny = replace(make_model(), directions=folder)
    normal = torch.randn(tiny.generator.w_dim, generator=torch.Generator().manual_seed(2))
    calibration = Calibration(tuple(np.linspace(-3, 3, 13)), tuple(np.linspace(0.02, 0.98, 13)), bounded=True)
    direction = Direction("smile", normal, unit="probability", calibration=calibration, fingerprint=tiny.fingerprint)
    direction.save(folder / "smile.safetensors")
    return tiny


@pytest.fixture(scope="module")
def inversions(model: Model) -> list[Inversion]:
    """Two faces with weight changes and noise."""
    ws = model.generator.mapping(torch.randn(2, 12, generator=torch.Generator().manual_seed(4)))
    crops = to_pil(model.generator.synthesis(ws, noise_mode="none"))
    config = InversionConfig(steps=6, refine="weights", pivot="w+")
    return invert(crops, model=model, face=None, config=config)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns after every few bytecodes, so that a swap of shared state would be seen by another one."""
    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(kept)


def jobs(model: Model, inversions: list[Inversion]) -> list[Job]:
    one, two = inversions

    def inverting(method: str, refine: str, seed: int) -> Job:
        def job() -> list[Tensor]:
            config = InversionConfig(steps=8, refine=refine)  # type: ignore[arg-type]
            found = invert(one.target, model=model, face=None, method=method, config=config, seed=seed)
            factors = [factor for pair in found.delta.values() for factor in pair]
            return [found.ws, *found.noise.values(), *factors, _pixels(found.image)]

        return job

    def describing() -> list[Tensor]:
        seen = model.perception.perceive(one.code.render(model.generator))
        return [seen.identity, seen.probabilities, seen.age]

    def filming() -> list[Tensor]:
        return [_pixels(frame) for frame in interpolate([one, two], frames=4, model=model).frames]

    def editing() -> list[Tensor]:
        changed = edit(one, model=model, smile=0.9)
        return [changed.ws, changed.pixels, changed.pixels_before]

    return [
        inverting("hybrid", "auto", 0),
        inverting("hybrid", "weights", 1),
        inverting("optimize", "none", 2),
        inverting("encoder", "weights", 0),
        editing,
        lambda: [mix(one, two, layers="coarse", model=model).pixels],
        lambda: [_pixels(two.render(model))],
        lambda: [model.generator.synthesis(one.ws)],
        describing,
        filming,
    ]


def _pixels(image: object) -> Tensor:
    return torch.from_numpy(np.array(image))


@pytest.mark.usefixtures("eager_switches")
def test_mixed_work_in_threads_gives_what_it_gives_alone(model: Model, inversions: list[Inversion]) -> None:
    work = jobs(model, inversions)
    before = {name: (id(t), t._version) for name, t in model.generator.state_dict(keep_vars=True).items()}
    expected = [job() for job in work]
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [(number, pool.submit(work[number])) for _ in range(4) for number in range(len(work))]
        for number, future in futures:
            for mine, alone in zip(future.result(), expected[number], strict=True):
                assert torch.equal(mine, alone), f"job {number} came out otherwise"
    after = {name: (id(t), t._version) for name, t in model.generator.state_dict(keep_vars=True).items()}
    assert after == before


def test_the_generators_parameters_are_the_very_same_objects_during_and_after_an_inversion(
    model: Model, inversions: list[Inversion]
) -> None:
    networks = (model.generator, model.encoder, model.perception)
    before = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    seen: list[bool] = []

    def look(_: object) -> None:
        now = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
        seen.append(all(one is other for one, other in zip(now, before, strict=True)))

    config = InversionConfig(steps=6, refine="weights")
    invert(inversions[0].target, model=model, face=None, method="hybrid", config=config, callback=look)
    look(None)
    assert len(seen) == 7
    assert all(seen)


def test_this_test_sees_a_generator_that_is_swapped_for_the_time_of_a_call(model: Model) -> None:
    """The fault that this library had: `functional_call` on a shared network shows foreign weights to other threads."""
    synthesis = model.generator.synthesis
    name = "b16.conv1.weight"
    own = synthesis.get_parameter(name)
    seen = []

    def hook(*_: object) -> None:
        seen.append(synthesis.get_submodule("b16.conv1").weight is own)

    handle = synthesis.b4.register_forward_hook(hook)
    try:
        torch.func.functional_call(synthesis, {name: own + 1}, (torch.zeros(1, synthesis.num_ws, 12),))
    finally:
        handle.remove()
    assert seen == [False]
