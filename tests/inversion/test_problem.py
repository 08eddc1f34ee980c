"""What the photos of a call share, and what a callback is told."""

from __future__ import annotations

import torch

from latentedit.inversion import InversionConfig
from latentedit.inversion.problem import Bench, Plan, Problem, Stage


def test_what_is_measured_of_the_generator_is_measured_once(model, monkeypatch):
    calls = []
    forward = type(model.generator.mapping).forward
    monkeypatch.setattr(
        type(model.generator.mapping), "forward", lambda self, *a, **k: (calls.append(1), forward(self, *a, **k))[1]
    )
    bench = Bench(model, InversionConfig())
    first, second = (Problem(bench, torch.zeros(1, 3, 16, 16), row=row) for row in (0, 1))
    assert first.bench.space is second.bench.space
    assert len(calls) == 8  # 2048 latents in chunks of 256
    assert bench.maps is bench.maps


def test_perception_looks_at_its_own_part_of_the_models_crops(model):
    own = model.perception.for_template(model.template.scale, model.template.shift)
    assert Bench(model, InversionConfig()).perception.window == own.window
    assert own.window is not None


def test_steps_are_counted_over_stages_and_photos(model):
    events = []
    problem = Problem(
        Bench(model, InversionConfig(image_every=4)), torch.zeros(1, 3, 16, 16), row=2, callback=events.append
    )
    plan = Plan(latent=6, weights=4)
    loss = {"pixel": torch.ones(1, requires_grad=True) * 2}
    for step in range(plan.weights):
        problem.report(Stage("weights", plan.latent, plan.weights, plan.total), step, loss, torch.zeros(1, 3, 16, 16))
    assert [(event.step, event.steps, event.completed) for event in events] == [
        (7, 10, 27), (8, 10, 28), (9, 10, 29), (10, 10, 30),
    ]  # fmt: skip
    assert [event.images is not None for event in events] == [False, True, False, True]
    assert all(event.rows == (2,) and not event.losses["pixel"].requires_grad for event in events)
    Problem(problem.bench, problem.target).report(Stage("w", 0, 1, 1), 0, loss, problem.target)  # nobody listens
