"""Losses of all heads, each over the crops that have its label.

Legend: ``N`` crops, ``K`` attributes, ``D`` identity dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.training.data.labels import FaceTable, LandmarkPose, identity_targets
from latentedit.training.perception.recipe import MAIN_ATTRIBUTES, TrainingConfig

AGE_SIGMA = 2.0
"""Years that age labels are blurred by (Gao et al. 2017 spread a label over its neighbours)."""

WORST_LANDMARK_POSE = 7.0
"""Degrees of error up to which the pose that landmarks tell is taken for a label where a crop has none."""


class Targets:
    """Label tensors of a `FaceTable`, with the derived ones: pose from landmarks and identity targets."""

    def __init__(self, table: FaceTable, device: str | torch.device = "cpu") -> None:
        self.landmark_pose = LandmarkPose.fit(table)
        pose = table.pose.copy()
        if self.landmark_pose is not None and max(self.landmark_pose.error) <= WORST_LANDMARK_POSE:
            missing = np.isnan(pose[:, 0]) & ~np.isnan(table.landmarks[:, 0, 0])
            pose[missing, :2] = self.landmark_pose(table.landmarks[missing])
        pose[:, 2] = 0  # an aligned crop stands upright by construction; augmentation adds the roll
        identity = identity_targets(table)
        memory = identity[(table.split == "train") & ~table.masked & ~np.isnan(identity[:, 0])]
        self.age = torch.from_numpy(table.age).to(device)
        self.attributes = torch.from_numpy(table.attributes).to(device)
        self.pose = torch.from_numpy(pose.astype(np.float32)).to(device)
        self.identity = torch.from_numpy(identity.astype(np.float32)).to(device)
        self.memory = torch.from_numpy(memory.astype(np.float32)).to(device)


def losses(
    heads: dict[str, Tensor],
    targets: Targets,
    rows: Tensor,
    flipped: Tensor,
    roll: Tensor,
    config: TrainingConfig,
    negatives: Tensor,
) -> dict[str, Tensor]:
    """Weighted loss of every head over the rows that have its label.

    ``negatives`` [M, D]: descriptors of other crops, which the identity of each crop must be farther from than its own.
    """
    result = {"attributes": _attribute_loss(heads["attributes"], targets.attributes[rows], config)}
    age = targets.age[rows]
    known = ~age.isnan()
    if known.any():
        result["age"] = config.age_weight * _age_loss(heads["age"][known], age[known]) * known.float().mean()
    pose = torch.where(flipped[:, None], targets.pose[rows] * torch.tensor([-1.0, 1, -1]).to(roll), targets.pose[rows])
    pose = pose + torch.stack([torch.zeros_like(roll), torch.zeros_like(roll), roll], dim=1)
    known = ~pose.isnan()
    error = F.smooth_l1_loss(heads["pose"] / 10, pose.nan_to_num() / 10, reduction="none")
    result["pose"] = config.pose_weight * (error * known).sum() / len(pose)
    identity = targets.identity[rows]
    known = ~identity[:, 0].isnan()
    if known.any():
        share = known.float().mean()
        predicted, wanted = F.normalize(heads["identity"][known], dim=1), identity[known]
        result["identity"] = config.identity_weight * (1 - (predicted * wanted).sum(1)).mean() * share
        result["contrast"] = (
            config.contrast_weight * _contrast(predicted, wanted, negatives, config.temperature) * share
        )
    return result


def _attribute_loss(logits: Tensor, labels: Tensor, config: TrainingConfig) -> Tensor:
    names, minor = config.network.attributes, config.minor_weight
    weights = torch.tensor([1.0 if name in MAIN_ATTRIBUTES else minor for name in names], device=logits.device)
    known = ~labels.isnan()
    error = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return (error * known * weights).sum() / len(logits)


def _age_loss(logits: Tensor, age: Tensor) -> Tensor:
    """Cross entropy with a Gaussian around the label (Gao et al. 2017, eq. 5), and the expectation's error in years."""
    bins = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
    age = age.clamp(max=float(logits.shape[1] - 1))
    wanted = torch.softmax(-((bins - age[:, None]) ** 2) / (2 * AGE_SIGMA**2), dim=1)
    expected = logits.softmax(dim=1) @ bins
    return -(wanted * logits.log_softmax(dim=1)).sum(1).mean() + 0.5 * (expected - age).abs().mean()


def _contrast(predicted: Tensor, wanted: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Each crop must recognise its own descriptor among ``negatives`` (van den Oord et al. 2018, eq. 4).

    Negatives too similar to the wanted descriptor (the same person, or the crop itself) are left out.
    """
    similarity = predicted @ negatives.t() / temperature
    similarity = similarity.masked_fill(wanted @ negatives.t() > 0.6, -1e4)
    own = (predicted * wanted).sum(1, keepdim=True) / temperature
    return (torch.logsumexp(torch.cat([own, similarity], dim=1), dim=1) - own[:, 0]).mean()
