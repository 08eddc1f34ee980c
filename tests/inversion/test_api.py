from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from latentedit.inversion import Inversion, InversionConfig, invert

FAST = InversionConfig(steps=6, patience=0)


def test_the_result_describes_itself(model, crops):
    result = invert(crops[1], model=model, face=None, method="auto", steps=4, seed=3)
    assert isinstance(result, Inversion)
    assert result.ws.shape == (1, model.generator.num_ws, model.generator.w_dim)
    assert all(value.shape[:2] == (1, 1) for value in result.noise.values())
    assert set(result.metrics) == {"mse", "ssim", "perceptual", "identity"}
    assert result.fingerprint == model.fingerprint
    assert result.model == "tiny"
    assert result.settings["method"] == "hybrid"
    assert result.settings["seed"] == 3
    assert result.settings["steps_taken"] == 4
    assert result.settings["config"]["steps"] == 4
    pixels = np.asarray(result.image, dtype=np.float64) - np.asarray(result.target, dtype=np.float64)
    assert np.mean((pixels / 127.5) ** 2) == pytest.approx(result.metrics["mse"], rel=0.02)


def test_a_list_gives_what_each_photo_gives_alone(model, crops):
    alone = [invert(crop, model=model, face=None, config=FAST) for crop in crops[:3]]
    rows = []
    together = invert(crops[:3], model=model, face=None, config=FAST, callback=lambda event: rows.append(event.rows))
    assert sorted(set(rows)) == [(0,), (1,), (2,)]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.ws, other.ws)
        assert one.image.tobytes() == other.image.tobytes()
    stacked = invert(np.stack([np.asarray(crop) for crop in crops[:2]]), model=model, face=None, config=FAST)
    assert len(stacked) == 2
    assert invert([], model=model) == []


def test_two_runs_give_identical_files(model, crops, tmp_path):
    for name in ("a", "b"):
        invert(crops[0], model=model, face=None, method="optimize", config=FAST).save(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.usefixtures("two_faces")
def test_the_inversion_goes_back_into_its_photo(model, wide_photo):
    result = invert(wide_photo, model=model, config=FAST)
    pasted = result.paste_back()
    assert pasted.size == wide_photo.size
    difference = np.abs(np.asarray(pasted, dtype=int) - np.asarray(wide_photo, dtype=int)).max(axis=2)
    assert difference.max() > 5
    assert difference[:, 80:].max() == 0
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    assert np.abs(np.asarray(result.paste_back(red, match_color=False), dtype=int) - np.asarray(wide_photo)).max() > 50


def test_a_bare_generator_is_optimised_and_looked_at_by_the_embedded_network(model, crops):
    result = invert(crops[0], model=model.generator, face=None, config=InversionConfig(steps=4))
    assert result.settings["method"] == "optimize"
    assert set(result.metrics) == {"mse", "ssim", "perceptual", "identity"}
    assert result.fingerprint == model.fingerprint
    assert result.model == "custom"
