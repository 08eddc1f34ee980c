"""MobileStyleGAN against numbers of OpenVINO, which ran the published file, and the long way (mobile_files)."""

from __future__ import annotations

import copy
from pathlib import Path

import mobile_files as small
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentedit.cuda_ops import haar_cells, pointwise_lrelu, styled_depthwise
from latentedit.errors import LatentError, ModelError
from latentedit.models import load_generator
from latentedit.models.locations import package_folder
from latentedit.networks import fingerprint
from latentedit.networks.mobilestylegan import MobileStyleGANConfig, MobileStyleGANGenerator

GOLDEN = Path(__file__).parent.parent / "golden" / "mobilestylegan_ffhq_1024.npz"
CONFIG = MobileStyleGANConfig(channels=small.CHANNELS, z_dim=small.W, w_dim=small.W, mapping_layers=3)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> MobileStyleGANGenerator:
    folder = small.write_graphs(tmp_path_factory.mktemp("graphs"), small.student(), small.noise_maps())
    made = load_generator(folder)
    assert isinstance(made, MobileStyleGANGenerator)
    return made


@pytest.fixture
def ws(generator: MobileStyleGANGenerator) -> torch.Tensor:
    return torch.randn(2, generator.num_ws, small.W, generator=torch.Generator().manual_seed(3))


@pytest.mark.skipif(package_folder() is None, reason="random-face is not installed")
def test_golden_images() -> None:
    golden = np.load(GOLDEN)
    generator = load_generator("ffhq")
    with torch.no_grad():
        ws = generator.mapping(torch.from_numpy(golden["z"]))
        image = generator.synthesis(ws)
    np.testing.assert_allclose(ws[:, 0], golden["w"], atol=1e-4)
    parts = {
        "image_mean_8x8": F.avg_pool2d(image, 8),
        "patch_eyes": image[:, :, 440:504, 340:468],
        "patch_corner": image[:, :, :32, :32],
        "patch_end": image[:, :, -32:, -32:],
    }
    for name, part in parts.items():
        difference = np.abs(part.numpy() - golden[name])
        assert difference.max() < 1e-3
        assert difference.mean() < 1e-4


def test_rows_are_numbered_as_in_the_teacher() -> None:
    config = MobileStyleGANConfig()
    assert (config.resolution, config.num_ws) == (1024, 18)
    with torch.device("meta"):
        synthesis = MobileStyleGANGenerator(config).synthesis
    pairs = [r for r in (8, 16, 32, 64, 128, 256, 512, 1024) for _ in (0, 1)]
    assert synthesis.layer_resolutions == (4, *pairs, 1024)
    assert [row for row, _ in synthesis.style_weights()] == [
        0,
        *(row for i in range(1, 15, 2) for row in (i, i, i + 1)),
    ]


@torch.no_grad()
def test_every_row_acts_but_the_last_two(generator: MobileStyleGANGenerator, ws: torch.Tensor) -> None:
    image = generator.synthesis(ws)
    for row in range(generator.num_ws):
        other = ws.clone()
        other[:, row] += 1
        same = torch.equal(generator.synthesis(other), image)
        assert same == (row >= generator.num_ws - 2)


@torch.no_grad()
def test_noise_modes(generator: MobileStyleGANGenerator, ws: torch.Tensor) -> None:
    maps, state = small.noise_maps(), small.student()
    image = generator.synthesis(ws)
    silent = small.render(state, ws, {name: torch.zeros_like(value) for name, value in maps.items()})
    torch.testing.assert_close(generator.synthesis(ws, noise_mode="none"), silent, rtol=0, atol=1e-4)
    torch.manual_seed(0)
    first = generator.synthesis(ws, noise_mode="random")
    assert not torch.equal(first, generator.synthesis(ws, noise_mode="random"))
    torch.manual_seed(0)
    assert torch.equal(first, generator.synthesis(ws, noise_mode="random"))
    own = {"b8.conv0": torch.randn(2, 1, 8, 8)}
    expected = [small.render(state, ws[i : i + 1], maps | {"layers.0.conv1": own["b8.conv0"][i, 0]}) for i in (0, 1)]
    torch.testing.assert_close(generator.synthesis(ws, noise=own), torch.cat(expected), rtol=0, atol=1e-4)
    assert not torch.equal(generator.synthesis(ws, noise=own), image)
    with pytest.raises(LatentError, match=r"Noise buffers \['b4.conv0'\] do not exist"):
        generator.synthesis(ws, noise={"b4.conv0": torch.zeros(4, 4)})


@torch.no_grad()
def test_a_batch_is_its_rows(generator: MobileStyleGANGenerator, ws: torch.Tensor) -> None:
    rows = torch.cat([generator.synthesis(ws[i : i + 1]) for i in range(len(ws))])
    torch.testing.assert_close(generator.synthesis(ws), rows, rtol=0, atol=1e-5)


def test_gradients_with_respect_to_latents_and_noise(generator: MobileStyleGANGenerator, ws: torch.Tensor) -> None:
    double = copy.deepcopy(generator).double()
    noise = torch.randn(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    w = ws[:1].double().requires_grad_(True)
    taken = small.CHANNELS[-1]
    weights = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def render(w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        x = double.synthesis.b4(w[:, 0], None)
        x = double.synthesis.b8(x, w[:, 1:3], [None, None])
        x = double.synthesis.b16(x, w[:, 3:5], [noise, None])
        return (double.synthesis.torgb(x[:, :taken], w[:, 7]) * weights).sum()

    assert torch.autograd.gradcheck(render, (w, noise), fast_mode=True)
    assert torch.autograd.gradgradcheck(render, (w, noise), fast_mode=True)


@torch.no_grad()
def test_features_of_inner_levels(generator: MobileStyleGANGenerator, ws: torch.Tensor) -> None:
    levels = dict(generator.synthesis.levels(ws))
    assert {r: tuple(x.shape[1:]) for r, x in levels.items()} == {
        4 << i: (count, 4 << i, 4 << i) for i, count in enumerate(small.CHANNELS)
    }
    assert torch.equal(generator.synthesis.features(ws, 16), levels[16])
    assert levels[16].is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(LatentError, match="no features at 64 px"):
        generator.synthesis.features(ws, 64)


class Head(torch.nn.Module):
    """Pictures of 16 px from features of 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = {16: 8}
        self.weight = torch.nn.Parameter(torch.ones(3, small.CHANNELS[1]))

    def forward(self, features: torch.Tensor, ws: torch.Tensor, resolution: int) -> torch.Tensor:
        assert resolution == 16
        return F.interpolate(torch.einsum("oc,nchw->nohw", self.weight, features), scale_factor=2)


@torch.no_grad()
def test_small_pictures_by_heads_and_without(generator: MobileStyleGANGenerator, ws: torch.Tensor) -> None:
    made = copy.deepcopy(generator)
    whole = made.synthesis(ws)
    assert made.synthesis.preview_resolutions == ()
    for resolution in (16, 32):
        cells = F.avg_pool2d(whole, whole.shape[-1] // resolution)
        torch.testing.assert_close(made.synthesis(ws, resolution=resolution), cells)
    assert torch.equal(made.synthesis(ws, resolution=64), whole)
    before = fingerprint(made), set(made.state_dict())
    head = Head()
    made.synthesis.heads = head
    assert (fingerprint(made), set(made.state_dict())) == before
    assert made.synthesis.preview_resolutions == (16,)
    expected = head(made.synthesis.features(ws, 8), ws, 16)
    assert torch.equal(made.synthesis(ws, resolution=16), expected)
    torch.testing.assert_close(made.synthesis(ws, resolution=32), F.avg_pool2d(whole, 2))
    made.to(torch.float64)
    assert head.weight.dtype == torch.float64
    copied = copy.deepcopy(made).synthesis.heads
    assert isinstance(copied, Head)
    assert copied.weight is not head.weight
    with pytest.raises(LatentError, match="resolution 48 does not divide"):
        generator.synthesis(ws, resolution=48)


@pytest.mark.parametrize("channels", [(8,), (6, 8), (8, 2), (8,) * 13])
def test_impossible_channels_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="cannot be those of a MobileStyleGAN"):
        MobileStyleGANConfig(channels=channels)


# --- the operations, each against its definition ----------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_wavelet_step_is_the_inverse_haar_transform(layout: torch.memory_format) -> None:
    x = torch.randn(2, 12, 5, 6, dtype=torch.float64)
    blocks = [x[:, :3], *(x[:, 3 + i :: 3] for i in range(3))]  # their triples to our blocks
    cells = haar_cells(torch.cat(blocks, dim=1).contiguous(memory_format=layout))
    torch.testing.assert_close(cells / 2, small.inverse_wavelet(x.float()).double(), rtol=0, atol=1e-6)
    assert cells.is_contiguous(memory_format=torch.channels_last)
    energy = x.square().sum()
    torch.testing.assert_close((cells / 2).square().sum(), energy)  # the transform is orthonormal


def test_styled_depthwise() -> None:
    x, weight = torch.randn(2, 8, 5, 5), torch.randn(2, 1, 3, 3)
    styles, up = torch.randn(2, 2), torch.randn(2, 8)
    expected = haar_cells(x * up[:, :, None, None]) / 2
    expected = F.conv2d(expected * styles[:, :, None, None], weight, padding=1, groups=2)
    torch.testing.assert_close(styled_depthwise(x, weight, styles, up), expected)
    plain = F.conv2d(x[:, :2] * styles[:, :, None, None], weight, padding=1, groups=2)
    torch.testing.assert_close(styled_depthwise(x[:, :2], weight, styles), plain)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_pointwise_lrelu(noisy: bool, grad: bool) -> None:
    x, weight, bias = torch.randn(2, 6, 4, 5), torch.randn(3, 6), torch.randn(3)
    noise = torch.randn(2, 1, 4, 5) if noisy else None
    sums = torch.einsum("oc,nchw->nohw", weight, x) + bias[:, None, None] + (0 if noise is None else noise)
    before = x.clone()
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(pointwise_lrelu(x, weight, bias, noise), torch.where(sums < 0, 0.2 * sums, sums))
    assert torch.equal(x, before)
