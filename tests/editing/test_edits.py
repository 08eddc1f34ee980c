"""`edit`: arithmetic on latents in honest units."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latentedit.directions import Calibration, Direction, OutOfRangeWarning
from latentedit.editing import Subject, edit
from latentedit.editing.strength import move
from latentedit.editing.subject import subject_of
from latentedit.errors import (
    DirectionError,
    FingerprintError,
    LatentEditError,
    LatentError,
    LayerError,
    ModelError,
    OutputError,
)
from latentedit.inversion import Inversion
from latentedit.models import Model
from latentedit.networks import Generator, GeneratorConfig


def direction(model: Model, name: str) -> Direction:
    return Direction.load(model.directions / f"{name}.safetensors", model)


def test_raw_distances_are_exact_arithmetic(model: Model, ws: Tensor, judge) -> None:
    changed = edit(ws, model=model, distance={"age": 2, "smile": [-1, 0, 0.5]})
    expected = ws + 2 * direction(model, "age").normal
    expected = expected + torch.tensor([-1, 0, 0.5])[:, None, None] * direction(model, "smile").normal
    torch.testing.assert_close(changed.ws, expected)
    assert judge.calls == 0  # nothing is rendered for an edit by distance


def test_layers_limit_where_directions_act(model: Model, ws: Tensor) -> None:
    changed = edit(ws, model=model, distance={"age": 2}, layers="2-4,7").ws - ws
    moved = changed.abs().amax(dim=(0, 2)) > 0
    assert moved.nonzero().flatten().tolist() == [2, 3, 4, 7]
    coarse = edit(ws, model=model, distance={"age": 2}, layers="coarse").ws - ws
    resolutions = model.generator.synthesis.layer_resolutions
    assert (coarse.abs().amax(dim=(0, 2)) > 0).tolist() == [r <= 8 for r in resolutions]


@pytest.mark.parametrize("target", [0.2, 0.8])
def test_scores_are_reached_although_the_calibration_is_wrong(model: Model, ws: Tensor, judge, target: float) -> None:
    changed = edit(ws, model=model, smile=target)
    reached = [metrics["asked"]["smile"]["after"] for metrics in changed.all_metrics]
    assert np.allclose(reached, target, atol=0.025)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blind = edit(ws, model=model, smile=target, verify=False)
    missed = [abs(metrics["asked"]["smile"]["after"] - target) for metrics in blind.all_metrics]
    assert max(missed) > 0.05


def test_several_attributes_are_corrected_together(model: Model, ws: Tensor) -> None:
    changed = edit(ws, model=model, age=+4, smile=0.7)
    for metrics in changed.all_metrics:
        assert metrics["asked"]["age"]["change"] == pytest.approx(4, abs=1)
        assert metrics["asked"]["smile"]["after"] == pytest.approx(0.7, abs=0.035)
        assert set(metrics["others"]) == {"hat"}


def test_what_is_worn_is_put_on_fully_from_a_score_of_095_on(model: Model, ws: Tensor) -> None:
    smile = direction(model, "smile")
    worn = {"mask": smile.with_(name="mask")}
    for amount, factor in ((0.9, 1.0), (0.95, 1.0), (0.975, 1.4), (1.0, 1.8), (0.0, 1.0)):
        plain = edit(ws, model=model, smile=min(amount, 0.95), verify=False).asked["smile"].distance
        fully = edit(ws, model=model, mask=amount, directions=worn, verify=False).asked["mask"].distance
        assert fully == pytest.approx([factor * distance for distance in plain], rel=1e-4)


def test_a_face_beyond_the_measured_ages_is_left_there_and_not_led_back(model: Model, ws: Tensor) -> None:
    age = direction(model, "age")
    score = float(model.perception.perceive(model.generator.synthesis(ws[:1]))["age"])
    calibration = Calibration((-1.0, 1.0), (score - 60, score - 50))
    beyond = {"age": age.with_(calibration=calibration)}
    with pytest.warns(OutOfRangeWarning):
        older = edit(ws[:1], model=model, age=15, directions=beyond)
    assert older.asked["age"].distance == (0.0,)
    assert float(edit(ws[:1], model=model, age=-15, directions=beyond).asked["age"].distance[0]) < 0


def test_verification_costs_a_few_looks(model: Model, ws: Tensor, judge) -> None:
    edit(ws, model=model, age=3, smile=0.6)
    assert 2 <= judge.calls <= 7


def test_rows_do_not_depend_on_their_neighbours(model: Model, ws: Tensor) -> None:
    together = edit(ws, model=model, age=4, smile=0.7).ws
    for row in range(len(ws)):
        alone = edit(ws[row : row + 1], model=model, age=4, smile=0.7).ws
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)


def test_a_list_of_amounts_makes_a_batch_of_one_face(model: Model, ws: Tensor) -> None:
    changed = edit(ws[:1], model=model, distance={"age": [-3, 0, 3]})
    assert len(changed.images) == 3
    torch.testing.assert_close(changed.ws[1], ws[0])
    with pytest.raises(LatentError, match=r"2 latents.*Give one"):
        edit(ws[:2], model=model, distance={"age": [1, 2, 3]})


def test_an_inversion_keeps_its_noise(model: Model, inversion: Inversion) -> None:
    unchanged = edit(inversion, model=model)
    np.testing.assert_array_equal(np.asarray(unchanged.image), np.asarray(inversion.image))
    changed = edit(inversion, model=model, distance={"age": 1})
    expected = inversion.render(model.generator, inversion.ws + direction(model, "age").normal)
    np.testing.assert_array_equal(np.asarray(changed.image), np.asarray(expected))


def test_a_weight_change_of_an_inversion_is_rendered(model: Model, inversion: Inversion) -> None:
    from dataclasses import replace

    weight = model.generator.synthesis.b8.conv0.weight
    stream = torch.Generator().manual_seed(0)
    left = torch.randn(weight.shape[0], 1, generator=stream)
    factors = (left, torch.randn(1, weight[0].numel(), generator=stream))
    changed = replace(inversion, code=replace(inversion.code, deltas=({"b8.conv0.weight": factors},)))
    changed = replace(changed, image=changed.render(model.generator))
    shown = edit([changed, inversion], model=model).images
    np.testing.assert_array_equal(np.asarray(shown[0]), np.asarray(changed.image))
    np.testing.assert_array_equal(np.asarray(shown[1]), np.asarray(inversion.image))
    assert (np.asarray(shown[0]) != np.asarray(shown[1])).any()


def test_inversions_and_latents_make_one_batch(model: Model, inversion: Inversion, ws: Tensor) -> None:
    changed = edit([inversion, ws[1:]], model=model, distance={"smile": 1})
    assert changed.ws.shape == (3, *ws.shape[1:])
    alone = edit(ws[1:2], model=model, distance={"smile": 1})
    np.testing.assert_allclose(changed.pixels[1], alone.pixels[0], atol=1e-4)


def test_files_of_latents_are_read(model: Model, inversion: Inversion, tmp_path: Path) -> None:
    inversion.save(tmp_path / "a.safetensors")
    changed = edit(tmp_path / "a.safetensors", model=model, distance={"age": 1})
    changed.save(tmp_path / "edited.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "edited.npz")["w"], changed.ws.numpy())
    again = edit(tmp_path / "edited.npz", model=model)
    torch.testing.assert_close(again.ws, changed.ws)


def test_edits_can_be_edited_on(model: Model, inversion: Inversion) -> None:
    twice = edit(edit(inversion, model=model, distance={"age": 1}), distance={"smile": 2})
    once = edit(inversion, model=model, distance={"age": 1, "smile": 2})
    torch.testing.assert_close(twice.ws, once.ws)
    np.testing.assert_array_equal(np.asarray(twice.paste_back()), np.asarray(once.paste_back()))


def test_metrics_tell_identity_and_what_else_changed(model: Model, inversion: Inversion, judge) -> None:
    changed = edit(inversion, model=model, distance={"age": 3})
    seen = judge.perceive(torch.cat([changed.pixels_before, changed.pixels]))
    metrics = changed.metrics
    assert metrics["identity"] == pytest.approx(float(seen.identity[0] @ seen.identity[1]), abs=1e-4)
    assert metrics["identity_distance"] == pytest.approx(float((seen.identity[0] - seen.identity[1]).norm()), abs=1e-4)
    assert metrics["asked"]["age"]["distance"] == 3
    assert metrics["asked"]["age"]["change"] == pytest.approx(float(seen["age"][1] - seen["age"][0]), abs=1e-3)
    assert metrics["others"] == {
        name: pytest.approx(float(seen[name][1] - seen[name][0]), abs=1e-4) for name in ("smile", "hat")
    }
    assert -1 <= metrics["identity_to_photo"] <= 1
    assert edit(inversion, model=model).metrics["identity"] == pytest.approx(1, abs=1e-4)


def test_a_bare_generator_works_with_directions_of_ones_own(generator: Generator, model: Model, ws: Tensor) -> None:
    own = direction(model, "age")
    changed = edit(ws, generator=generator, directions={"age": own}, distance={"age": 1})
    torch.testing.assert_close(changed.ws, ws + own.normal)
    folder = edit(ws, generator=generator, directions=model.directions, distance={"age": 1})
    torch.testing.assert_close(folder.ws, changed.ws)


def test_without_perception_the_calibration_decides(generator: Generator, model: Model, ws: Tensor) -> None:
    plain = Model(name="plain", generator=generator, directions=model.directions)
    changed = edit(ws, model=plain, age=5)
    own = direction(model, "age")
    torch.testing.assert_close(changed.ws, ws + own.displacement(ws, own.distance_for(ws, 5)))
    with pytest.raises(ModelError, match="'plain' has no perception network"):
        _ = changed.all_metrics
    with pytest.raises(ModelError, match="verify=True needs a perception network"):
        edit(ws, model=plain, age=5, verify=True)


def test_amounts_beyond_the_measured_range_warn_and_stop(model: Model, ws: Tensor) -> None:
    with pytest.warns(UserWarning, match="age would have to reach"):
        changed = edit(ws[:1], model=model, age=500)
    own = direction(model, "age").calibration
    assert abs(changed.asked["age"].distance[0]) <= own.distance_limits[1] - own.distance_limits[0] + 1e-6


def test_errors_name_what_is_wrong_and_what_is_known(model: Model, ws: Tensor, inversion: Inversion) -> None:
    with pytest.raises(DirectionError, match=r"Unknown attribute 'smiel'.*'tiny': age, smile"):
        edit(ws, model=model, smiel=1)
    with pytest.raises(DirectionError, match="'age' is asked for twice"):
        edit(ws, model=model, age=1, distance={"age": 1})
    with pytest.raises(DirectionError, match=r"age='old' is no number"):
        edit(ws, model=model, age="old")
    with pytest.raises(DirectionError, match=r"age=nan is no finite number"):
        edit(ws, model=model, age=float("nan"))
    with pytest.raises(DirectionError, match=r"smile=1\.5 is no score"):
        edit(ws, model=model, smile=1.5)
    with pytest.raises(LatentError, match="NaN or infinite values in row 1"):
        edit(torch.where(torch.arange(3)[:, None, None] == 1, torch.nan, ws), model=model, age=1)
    with pytest.raises(LatentError, match=r"takes ws \[N, 8, 16\]"):
        edit(torch.zeros(1, 5, 16), model=model, age=1)
    with pytest.raises(LayerError, match="lies outside this generator's 8 layers"):
        edit(ws, model=model, age=1, layers="0-9")
    with pytest.raises(LatentError, match="A photo has to be inverted first"):
        edit("photo.jpg", model=model, age=1)
    with pytest.raises(LatentError, match="A dict cannot be edited"):
        edit({}, model=model, age=1)
    with pytest.raises(LatentError, match="nothing to work on"):
        edit([], model=model, age=1)
    with pytest.raises(LatentEditError, match="Both a generator and a model"):
        edit(ws, model=model, generator=model.generator, age=1)


def test_other_generators_are_refused(model: Model, inversion: Inversion, ws: Tensor) -> None:
    torch.manual_seed(9)
    config = GeneratorConfig(resolution=32, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
    other = Model(name="other", generator=Generator(config).eval(), directions=model.directions)
    with pytest.raises(FingerprintError, match=f"{model.fingerprint}, not to {other.fingerprint}"):
        edit(inversion, model=other)
    with pytest.raises(FingerprintError, match="Direction 'age' belongs to the generator"):
        edit(ws, model=other, distance={"age": 1})
    with pytest.raises(FingerprintError, match="The latents belong to the generator"):
        edit(edit(inversion, model=model), model=other)


def test_batches_do_not_pretend_to_be_one_face(model: Model, ws: Tensor, tmp_path: Path) -> None:
    changed = edit(ws, model=model)
    with pytest.raises(LatentError, match=r"holds 3 faces.*Use \.images"):
        _ = changed.image
    with pytest.raises(LatentError, match=r"Use \.all_metrics"):
        _ = changed.metrics
    with pytest.raises(LatentError, match=r"Use \.images"):
        changed.save(tmp_path / "a.png")


def test_save_writes_pictures(model: Model, inversion: Inversion, tmp_path: Path) -> None:
    changed = edit(inversion, model=model)
    with Image.open(changed.save(tmp_path / "deep" / "a.png")) as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(inversion.image))
    with pytest.raises(OutputError, match="does not say what kind of picture"):
        changed.save(tmp_path / "a.doc")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["a.png"]


def test_subject_renders_in_batches_and_reports(model: Model, ws: Tensor) -> None:
    many = subject_of(ws.repeat(4, 1, 1), model=model)
    counted: list[int] = []
    images = many.render(counted.append)
    assert sum(counted) == 12
    assert isinstance(many, Subject)
    torch.testing.assert_close(images[:3], images[9:], atol=1e-5, rtol=1e-5)


def test_move_leaves_its_input_alone(model: Model, ws: Tensor) -> None:
    kept = ws.clone()
    move(ws, [(direction(model, "age"), 3.0)])
    torch.testing.assert_close(ws, kept, atol=0, rtol=0)
