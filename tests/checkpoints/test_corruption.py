"""Damaged files of every kind: flipped, cut and spliced bytes either change nothing that is read, or raise our error.

Own files and zip archives carry checksums, so what loads has the very same tensors. Pickles without one (NVIDIA's,
TensorFlow's, torch's legacy format) cannot tell that a weight changed: there, names, shapes and finiteness are certain.
"""

from __future__ import annotations

import resource
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mobile_files
import numpy as np
import pytest
import torch
from foreign_files import stylegan2_variables, write_nvidia, write_psp, write_tensorflow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentedit.checkpoints.rosinality import to_rosinality
from latentedit.errors import LatentEditError
from latentedit.models import load_generator, save_network
from latentedit.networks import Generator, GeneratorConfig
from latentedit.networks.psp_encoder import PspEncoder, PspEncoderConfig
from latentedit.networks.stylegan3 import StyleGAN3Config, StyleGAN3Generator

TINY = GeneratorConfig(resolution=8, z_dim=3, w_dim=2, mapping_layers=2, channel_base=16, channel_max=2)
TINY3 = StyleGAN3Config(
    resolution=16, z_dim=3, w_dim=2, mapping_layers=1, channel_base=16, channel_max=2, num_layers=3, num_critical=1,
    margin_size=1, filter_size=2,
)  # fmt: skip


def _nvidia3(path: Path) -> None:
    kwargs = {
        "z_dim": 3, "c_dim": 0, "w_dim": 2, "img_resolution": 16, "img_channels": 3, "channel_base": 16,
        "channel_max": 2, "num_layers": 3, "num_critical": 1, "margin_size": 1, "filter_size": 2,
    }  # fmt: skip
    write_nvidia(path, StyleGAN3Generator(TINY3).state_dict(), kwargs)


def _tensorflow1(path: Path) -> None:
    random = np.random.RandomState(0)
    shapes: dict[str, tuple[int, ...]] = {"dlatent_avg": (2,)}
    shapes |= {"mapping/Dense0/weight": (3, 2), "mapping/Dense0/bias": (2,)}
    layers = {"4x4/Const": 0, "4x4/Conv": 1, "8x8/Conv0_up": 2, "8x8/Conv1": 3}
    for layer, index in layers.items():
        head = f"synthesis/{layer}"
        shapes |= {
            f"{head}/Noise/weight": (2,), f"{head}/bias": (2,),
            f"{head}/StyleMod/weight": (2, 4), f"{head}/StyleMod/bias": (4,),
        }  # fmt: skip
        shapes[f"{head}/const" if index == 0 else f"{head}/weight"] = (1, 2, 4, 4) if index == 0 else (3, 3, 2, 2)
        shapes[f"synthesis/noise{index}"] = (1, 1, 4 << index // 2, 4 << index // 2)
    shapes |= {"synthesis/ToRGB_lod0/weight": (1, 1, 2, 3), "synthesis/ToRGB_lod0/bias": (3,)}
    values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    write_tensorflow(path, values, version=3)


def _psp(path: Path) -> None:
    generator = Generator(replace(TINY, channel_max=2))
    encoder = PspEncoder(PspEncoderConfig(4, (16,) * 4, w_dim=2, width=16))
    state = {name: value.half() for name, value in encoder.state_dict().items() if name != "latent_avg"}
    average = generator.mapping.w_avg.clone()
    decoder = to_rosinality(generator)["g_ema"]
    write_psp(path, decoder, state, average, plain_opts=False, encoder_type="GradualStyleEncoder")


def _legacy(path: Path) -> None:
    torch.save(to_rosinality(Generator(TINY)), path, _use_new_zipfile_serialization=False)


def _nvidia2(path: Path) -> None:
    write_nvidia(path, Generator(TINY).state_dict(), {"mapping_kwargs": {"num_layers": 2}})


def _wheel(path: Path) -> None:
    folder = mobile_files.write_graphs(path.parent / "graphs", mobile_files.student(), mobile_files.noise_maps())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"random_face/data/{file.name}")


def _student(path: Path) -> None:
    torch.save(mobile_files.checkpoint(mobile_files.student(), mobile_files.noise_maps()), path)


# kind -> (writer, whether the format carries checksums, cases); 2,000 cases in all
KINDS: dict[str, tuple[Callable[[Path], object], bool, int]] = {
    "own": (lambda path: save_network(path, Generator(TINY)), True, 300),
    "rosinality zip": (lambda path: torch.save(to_rosinality(Generator(TINY)), path), True, 300),
    "rosinality legacy": (_legacy, False, 300),
    "NVIDIA StyleGAN2": (_nvidia2, False, 350),
    "NVIDIA StyleGAN3": (_nvidia3, False, 200),
    "TensorFlow StyleGAN2": (
        lambda path: write_tensorflow(path, stylegan2_variables(Generator(TINY).state_dict())), False, 300,
    ),
    "TensorFlow StyleGAN 1": (_tensorflow1, False, 200),
    "pSp": (_psp, True, 50),
    "MobileStyleGAN wheel": (_wheel, True, 150),
    "MobileStyleGAN checkpoint": (_student, True, 150),
}  # fmt: skip

EDIT = st.tuples(
    st.sampled_from(["flip", "cut", "splice", "insert", "copy"]),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=12),
)


def damage(content: bytes, edits: list[tuple[str, float, float, bytes]]) -> bytes:
    data = bytearray(content)
    for kind, where, other, noise in edits:
        at = int(where * len(data))
        if kind == "flip" and data:
            data[at] ^= 1 << int(other * 8)
        elif kind == "cut":
            del data[at : at + 1 + int(other * 64) if other < 0.7 else len(data)]
        elif kind == "splice":
            data[at : at + len(noise)] = noise
        elif kind == "insert":
            data[at:at] = noise
        elif kind == "copy":
            start = int(other * len(data))
            data[at : at + 32] = data[start : start + 32]
    return bytes(data)


def test_the_suite_has_two_thousand_cases() -> None:
    assert sum(cases for _, _, cases in KINDS.values()) >= 2000


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    write, checksummed, cases = KINDS[kind]
    torch.manual_seed(7)
    original = tmp_path / "original"
    write(original)
    content = original.read_bytes()
    expected = load_generator(original).state_dict()
    target = tmp_path / "damaged"
    outcomes = {"loads": 0, "refused": 0}

    @settings(
        max_examples=cases, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(EDIT, min_size=1, max_size=3))
    def case(edits: list[tuple[str, float, float, bytes]]) -> None:
        target.write_bytes(damage(content, edits))
        try:
            state = load_generator(target).state_dict()
        except LatentEditError:
            outcomes["refused"] += 1
            return
        outcomes["loads"] += 1
        assert {name: value.shape for name, value in state.items()} == {n: v.shape for n, v in expected.items()}
        assert all(bool(torch.isfinite(value).all()) for value in state.values())
        if checksummed:
            assert all(torch.equal(state[name], value) for name, value in expected.items())

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    case()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes: 1 GB
    assert outcomes["refused"] > 0.2 * cases
