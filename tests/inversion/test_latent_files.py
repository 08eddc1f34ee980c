"""Latents of other projects: read whatever their form, and never executed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from latentedit.errors import LatentError, UnsafeCheckpointError
from latentedit.images import to_pil
from latentedit.inversion import Inversion, invert, load_latents


@pytest.fixture(scope="module")
def inversion(model, targets):
    return invert(to_pil(targets[:1])[0], model=model, face=None, method="encoder")


def test_one_photos_projection_and_the_last_of_restyles_passes(tmp_path):
    torch.save({"img": torch.zeros(3), "latent": torch.arange(12.0), "noise": [torch.zeros(2)]}, tmp_path / "me.pt")
    assert load_latents(tmp_path / "me.pt")["me"].equal(torch.arange(12.0).view(1, 1, 12))
    passes = {"a.jpg": [np.zeros((6, 12), np.float32), np.ones((6, 12), np.float32)]}
    np.save(tmp_path / "latents.npy", passes, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    assert load_latents(tmp_path / "latents.npy")["a.jpg"].equal(torch.ones(1, 6, 12))


def test_latents_of_other_projects_are_read(inversion, tmp_path):
    ws = torch.randn(3, 6, 12)
    torch.save(ws, tmp_path / "latents.pt")
    torch.save({"a.png": {"img": torch.zeros(3), "latent": ws[0], "noise": [ws[1]]}}, tmp_path / "rosinality.pt")
    np.save(tmp_path / "one.npy", ws[:1].numpy())
    np.savez(tmp_path / "latents.npz", **{"a.jpg": ws[0].numpy(), "b.jpg": ws[1].numpy()})
    inversion.save(tmp_path / "own.safetensors")
    found = load_latents(tmp_path / "latents.pt")
    assert list(found) == ["w-0", "w-1", "w-2"] or list(found) == ["latents-0", "latents-1", "latents-2"]
    assert torch.equal(torch.cat(list(found.values())), ws)
    assert torch.equal(load_latents(tmp_path / "rosinality.pt")["a.png"], ws[:1])
    assert torch.equal(load_latents(tmp_path / "one.npy")["one"], ws[:1])
    assert {name: tuple(v.shape) for name, v in load_latents(tmp_path / "latents.npz").items()} == {
        "a.jpg": (1, 6, 12), "b.jpg": (1, 6, 12),
    }  # fmt: skip
    assert torch.equal(load_latents(tmp_path / "own.safetensors")["own"], inversion.ws)


class _Bomb:
    def __reduce__(self):
        return (print, ("executed",))


def test_latents_are_never_executed(tmp_path, capsys):
    torch.save({"w": _Bomb()}, tmp_path / "bomb.pt")
    np.save(tmp_path / "bomb.npy", np.array([_Bomb()], dtype=object), allow_pickle=True)
    capsys.readouterr()
    for name in ("bomb.pt", "bomb.npy"):
        with pytest.raises(UnsafeCheckpointError, match="Nothing of the file was executed"):
            load_latents(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a.pt", "a.npy"])
def test_damaged_and_missing_files_are_named(tmp_path, name):
    with pytest.raises(LatentError, match=f"There is no file .*{name}"):
        load_latents(tmp_path / name)
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(LatentError, match=f"{name}' cannot be read as latents"):
        load_latents(tmp_path / name)


def test_files_that_are_no_latents_are_refused(model, inversion, tmp_path):
    save_file({"ws": inversion.ws}, tmp_path / "foreign.safetensors")
    with pytest.raises(LatentError, match="holds no inversion"):
        Inversion.load(tmp_path / "foreign.safetensors")
    np.savez(tmp_path / "labels.npz", w=np.arange(3))
    with pytest.raises(LatentError, match=r"'w' has shape \[3\]"):
        load_latents(tmp_path / "labels.npz")
    np.savez(tmp_path / "wrong.npz", w=np.zeros((1, 4, 5), np.float32))
    with pytest.raises(LatentError, match="This generator takes ws"):
        Inversion.load(tmp_path / "wrong.npz", generator=model)
    np.savez(tmp_path / "nan.npz", w=np.full((1, model.generator.num_ws, 12), np.nan, np.float32))
    with pytest.raises(LatentError, match="NaN"):
        Inversion.load(tmp_path / "nan.npz", generator=model)
