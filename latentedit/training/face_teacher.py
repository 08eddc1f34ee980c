"""dlib's face recognition network in PyTorch: the teacher of the identity head, many crops at a time.

The weights are read from dlib's own file. In float32 the descriptors are dlib's to 1e-6; batches in bfloat16 on one
core take a fifth of dlib's time, and a GPU can be used. Legend: ``N`` crops, ``R`` their side.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from latentedit.errors import ModelError
from latentedit.faces.dlib_models import load_dlib, model_file
from latentedit.files import atomic_path

CHIP = 150
_DOWN = (0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1)  # residual blocks that halve the resolution
_MEAN = (122.782, 117.001, 104.298)
_CONVOLUTIONS = 1 + 2 * len(_DOWN)


def _integer(data: bytes, start: int) -> tuple[int, int] | None:
    """dlib's packed integer at ``start`` (a length byte, then that many bytes, low first) and where it ends."""
    count = data[start] & 0x0F
    if not 1 <= count <= 8 or data[start] & 0x70:
        return None
    return int.from_bytes(data[start + 1 : start + 1 + count], "little"), start + 1 + count


def read_tensors(path: Path) -> list[np.ndarray]:
    """The float32 tensors of 32 and more values in a serialised dlib network, flat, in the order of computation.

    A tensor is the packed integer 2 (its version), four packed sizes, and the values; everything between is skipped.
    """
    data, found, start = path.read_bytes(), [], 0
    while (start := data.find(b"\x01\x02", start)) >= 0:
        position, sizes = start + 2, []
        while len(sizes) < 4 and position < len(data) - 9 and (entry := _integer(data, position)):
            sizes.append(entry[0])
            position = entry[1]
        count = int(np.prod(sizes)) if len(sizes) == 4 and max(sizes) < 1 << 24 else 0
        if 32 <= count <= (len(data) - position) // 4:
            values = np.frombuffer(data, "<f4", count, position)
            if np.isfinite(values).all() and np.abs(values).max() < 1e3:
                found.append(values)
                start = position + 4 * count
                continue
        start += 1
    return found


class DlibFaceNetwork(nn.Module):
    """The residual network of dlib's ``dnn_face_recognition_ex.cpp``: uint8 chips [N,3,150,150] to descriptors [N,128].

    Affine layers are merged into the convolutions before them. Where a block's two branches differ in size, dlib adds
    them in the top left corner and takes what is missing for zero; so does this. Convolutions run in ``dtype``.

    Raises:
        ModelError: a file with other tensors.
    """

    mean: Tensor

    def __init__(self, path: Path | None = None, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        path = path or model_file("dlib_face_recognition_resnet_model_v1.dat")
        tensors = read_tensors(path)
        if len(tensors) != 2 * _CONVOLUTIONS + 1 or tensors[-1].size != 256 * 128:
            raise ModelError(
                f"{str(path)!r} does not hold dlib's face recognition network.", "Reinstall dlib's models."
            )
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, affine in zip(tensors[:-1:2], tensors[1:-1:2], strict=True):
            count = affine.size // 2
            side = 3 if self.weights else 7
            gain, shift = affine[:count], affine[count:]
            kernel = torch.from_numpy(layer[:-count].reshape(count, -1, side, side) * gain[:, None, None, None])
            self.weights.append(nn.Parameter(kernel.to(dtype).contiguous(memory_format=torch.channels_last)))
            self.biases.append(nn.Parameter(torch.from_numpy(layer[-count:] * gain + shift).to(dtype)))
        self.last = nn.Parameter(torch.from_numpy(tensors[-1].reshape(256, 128).copy()))
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, chips: Tensor) -> Tensor:
        weights, biases = list(self.weights), list(self.biases)
        x = (chips.float() - self.mean) / 256
        x = F.conv2d(x.to(weights[0].dtype).contiguous(memory_format=torch.channels_last), weights[0], biases[0], 2)
        x = F.max_pool2d(F.relu(x), 3, 2)
        for block, down in enumerate(_DOWN):
            first, second = 2 * block + 1, 2 * block + 2
            y = F.conv2d(x, weights[first], biases[first], 1 + down, 0 if down else 1)
            y = F.conv2d(F.relu(y), weights[second], biases[second], padding=1)
            x = F.avg_pool2d(x, 2) if down else x
            side, channels = max(x.shape[2], y.shape[2]), y.shape[1]
            x = F.pad(x, [0, side - x.shape[3], 0, side - x.shape[2], 0, channels - x.shape[1]])
            x = F.relu(x + F.pad(y, [0, side - y.shape[3], 0, side - y.shape[2]]))
        return x.float().mean(dim=[2, 3]) @ self.last


_CHIP_SIDE, _CHIP_CENTRE = 1.24, 0.593  # of a tight crop: means over 400 held-out crops, deviations 0.05 and 0.015


def tight_chips(crops: Tensor) -> Tensor:
    """Chips [N,3,150,150] in [0,255] of tight crops [N,3,R,R] in [-1,1], differentiable, for want of landmarks.

    Every crop gets the mean of the frames that dlib would give it; what lies beyond is mirrored.
    """
    frame = torch.tensor([[_CHIP_SIDE, 0, 0], [0, _CHIP_SIDE, 2 * _CHIP_CENTRE - 1]], device=crops.device)
    grid = F.affine_grid(frame.expand(len(crops), 2, 3), [len(crops), 3, CHIP, CHIP], align_corners=False)
    chips = F.grid_sample(crops.float(), grid, padding_mode="reflection", align_corners=False)
    return (chips + 1) * 127.5


def face_chip(crop: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """dlib's chip uint8 [150,150,3] of an aligned ``crop`` uint8 [R,R,3] with ``landmarks`` [68,2] in its pixels.

    The chip reaches beyond a tight crop, which is mirrored at its borders; and dlib takes whole pixels for landmarks,
    for which the crop is enlarged.
    """
    dlib = load_dlib()
    factor = max(1, round(256 / len(crop)))
    side = factor * len(crop)
    margin = side // 4
    image = np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC))
    image = np.ascontiguousarray(np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric"))
    points = [dlib.point(round(float(x)), round(float(y))) for x, y in (landmarks + 0.5) * factor - 0.5 + margin]
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, *image.shape[:2]), points)
    return dlib.get_face_chip(image, shape, CHIP, 0.25)


@torch.no_grad()
def describe_crops(
    network: DlibFaceNetwork, crops: np.ndarray, landmarks: np.ndarray, *, batch: int = 50
) -> np.ndarray:
    """Descriptors float32 [N,128] of aligned ``crops`` uint8 [N,R,R,3] with ``landmarks`` [N,68,2]."""
    parts = []
    for start in range(0, len(crops), batch):
        both = zip(crops[start : start + batch], landmarks[start : start + batch], strict=True)
        chips = np.stack([face_chip(np.asarray(crop), points) for crop, points in both])
        parts.append(network(torch.from_numpy(chips).permute(0, 3, 1, 2).to(network.last.device)).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 128), np.float32)


def describe_prepared(folder: Path, network: DlibFaceNetwork) -> Iterator[tuple[str, int]]:
    """Write ``teacher/identity-<shard>.npy`` for every prepared shard that lacks it; yields (shard, crops)."""
    for table in sorted(folder.glob("*-[0-9][0-9][0-9].csv")):
        target = folder / "teacher" / f"identity-{table.stem}.npy"
        if "-masked-" in table.stem or target.exists():
            continue
        crops = np.load(folder / f"{table.stem}.npy", mmap_mode="r")
        result = describe_crops(network, crops, np.load(folder / f"{table.stem}.landmarks.npy"))
        with atomic_path(target) as temporary:
            np.save(temporary, result)
        yield table.stem, len(result)
