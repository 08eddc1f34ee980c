"""The file of an inversion: what it holds, what is refused, and those of the version before."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from latentedit import Direction, edit, load_model
from latentedit.errors import LatentError
from latentedit.faces import align
from latentedit.inversion import Inversion, InversionConfig, invert


@pytest.fixture(scope="module")
def photo():
    stream = np.random.RandomState(1)
    small = Image.fromarray(stream.randint(0, 255, (8, 8, 3)).astype(np.uint8))
    return small.resize((80, 80), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def aligned(model, photo):
    points = np.zeros((68, 2))
    points[36:42], points[42:48], points[48], points[54] = (30, 35), (50, 33), (33, 55), (48, 54)
    return align(photo, points, model.template, 16)


@pytest.fixture(scope="module")
def inversion(model, aligned):
    return invert(aligned, model=model, config=InversionConfig(steps=12, refine="weights", pivot="w+"))


def test_damage_inside_a_file_is_noticed(inversion, tmp_path):
    path = tmp_path / "a.safetensors"
    inversion.save(path)
    tensors = load_file(path)
    metadata = {
        "format": "latentedit", "kind": "inversion", "version": "1", "fingerprint": inversion.fingerprint,
        "model": "tiny", "settings": "{}", "metrics": "{}",
        "template": json.dumps(inversion.aligned.template.to_dict()),
    }  # fmt: skip
    save_file(tensors, path, metadata)
    assert torch.equal(Inversion.load(path).ws, inversion.ws)
    for name, change in (("ws", torch.full_like(inversion.ws, float("nan"))), ("target", torch.zeros(3))):
        save_file({**tensors, name: change}, path, metadata)
        with pytest.raises(LatentError, match="is damaged"):
            Inversion.load(path)
    save_file({name: value for name, value in tensors.items() if name != "image"}, path, metadata)
    with pytest.raises(LatentError, match=r"is damaged \(KeyError: 'image'\)"):
        Inversion.load(path)
    save_file(tensors, path, metadata | {"version": "99"})
    with pytest.raises(LatentError, match="unknown version '99'"):
        Inversion.load(path)


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("delta.left.b16.conv1.weight", lambda t: t * float("nan"), "is not finite"),
        ("delta.right.b16.conv1.weight", lambda t: t[:1], "delta.left.b16.conv1.weight has shape"),
        ("noise.b8.conv1", lambda t: t[0], "noise.b8.conv1 has shape"),
        ("noise.b8.conv1", lambda t: t / 0, "noise.b8.conv1 is not finite"),
        ("ws", lambda t: t * 1e20, r"ws reaches \S+e\+"),
        ("ws", lambda t: t.repeat(2, 1, 1), r"ws has shape \[2, 6, 12\]"),
        ("quad", lambda t: t * 0, "quad encloses nothing"),
        ("quad", lambda t: t * float("nan"), "quad is not finite"),
        ("quad", lambda t: t[:3], "quad encloses nothing"),
    ],
)
def test_parts_that_no_inversion_has_are_refused(inversion, tmp_path, name, spoil, reason):
    path = tmp_path / "a.safetensors"
    inversion.save(path)
    with safe_open(path, "pt") as archive:
        metadata = archive.metadata()
    tensors = load_file(path)
    save_file({**tensors, name: spoil(tensors[name]).contiguous()}, path, metadata)
    with pytest.raises(LatentError, match=rf"is damaged \(ValueError: .*{reason}"):
        Inversion.load(path)


def test_a_file_of_version_0_1_still_shows_and_edits_as_it_did(root):
    """Written by latentedit 0.1 before codes were: latent, noise and weight change; the edit beside it as well.

    Another processor rounds otherwise: two levels of 255 are allowed.
    """
    model = load_model("faces64")
    stored = Inversion.load(root / "tests/golden/inversion_0_1.safetensors", generator=model)
    assert len(stored.noise) == 9
    assert len(stored.delta) == 5
    assert stored.settings["steps_taken"] == 80
    assert _apart(stored.render(model), stored.image) <= 2
    normal = torch.from_numpy(np.random.RandomState(0).randn(512)).float()
    sideways = Direction("sideways", normal, fingerprint=model.fingerprint)
    changed = edit(stored, model=model, distance={"sideways": 6.0}, directions={"sideways": sideways}, verify=False)
    with Image.open(root / "tests/golden/inversion_0_1_edit.png") as expected:
        assert _apart(changed.image, expected) <= 2
        assert _apart(stored.image, expected) > 20


def _apart(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())
