"""Calibration of a trained perception network on validation crops, and the network that is shipped.

Legend: ``n`` crops, ``K`` attributes, ``D`` identity dimensions.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.networks.perception import ACCEPT_RATES, PerceptionNetwork, fold
from latentedit.training.data.labels import FaceTable

SAME_PERSON = 0.6
"""The distance at which dlib's users separate same from different persons; identities are scaled to it."""

FALSE_MASKS = 0.01
"""Share of the unmasked validation crops that may be called masked; see `calibrate`."""

ALWAYS_KEPT = ("smile", "makeup", "lipstick", "eyeglasses", "gender", "hat", "mask", "young")


@dataclass(frozen=True)
class Predictions:
    """What a network says of n crops, as arrays: ``scores`` [n] by name, ``logits`` [n,K], ``identity`` [n,D]."""

    scores: dict[str, np.ndarray]
    logits: np.ndarray
    identity: np.ndarray


@torch.no_grad()
def predict(network: PerceptionNetwork, table: FaceTable, rows: np.ndarray, *, batch: int = 128) -> Predictions:
    """Run ``network`` over the crops ``rows`` of ``table``."""
    device = next(network.parameters()).device
    scores: dict[str, list[np.ndarray]] = {}
    logits, identity = [], []
    for start in range(0, len(rows), batch):
        images = table.images(rows[start : start + batch]).to(device).float() / 127.5 - 1
        perception = network.perceive(images)
        for name, value in perception.scores().items():
            scores.setdefault(name, []).append(value.cpu().numpy())
        logits.append(perception.logits.cpu().numpy())
        identity.append(perception.identity.cpu().numpy())
    return Predictions(
        {name: np.concatenate(values) for name, values in scores.items()},
        np.concatenate(logits),
        np.concatenate(identity),
    )


def platt(logits: Tensor, labels: Tensor, *, strength: float = 2.0) -> tuple[float, float]:
    """Slope and offset that make ``sigmoid(slope * logit + offset)`` a calibrated probability (Platt 1999).

    ``strength`` pulls towards slope 1 and offset 0, which decides where labels are few.
    """
    values = torch.tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)
    logits, labels = logits.double(), labels.double()
    optimiser = torch.optim.LBFGS([values], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        scaled = logits * values[0].exp() + values[1]
        loss = F.binary_cross_entropy_with_logits(scaled, labels, reduction="sum") + strength * values.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(values[0].detach().exp()), float(values[1].detach())


def roc_area(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the receiver operating characteristic: the chance that a positive scores above a negative."""
    positive, negative = scores[labels > 0.5], np.sort(scores[labels <= 0.5])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.mean() / 2 / len(negative))


def pairs_of_persons(persons: np.ndarray, count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` pairs [count, 2] of positions in ``persons`` and whether they are the same; half are.

    Same pairs are spread over persons: at most six of one person while there are others. Persons named "" take no part.
    """
    rng = np.random.RandomState(seed)
    groups: dict[str, list[int]] = {}
    for index in np.flatnonzero(persons != ""):
        groups.setdefault(persons[index], []).append(int(index))
    candidates = []
    for members in groups.values():
        own = [(a, b) for i, a in enumerate(members) for b in members[i + 1 :]]
        rng.shuffle(own)
        candidates += [(rank // 6, rng.random_sample(), pair) for rank, pair in enumerate(own)]
    same = [pair for _, _, pair in sorted(candidates)[: count // 2]]
    everybody = np.flatnonzero(persons != "")
    different: set[tuple[int, int]] = set()
    while len(different) < len(same):
        a, b = rng.choice(everybody, 2, replace=False).tolist()
        if persons[a] != persons[b]:
            different.add((min(a, b), max(a, b)))
    pairs = np.array(same + sorted(different)).reshape(-1, 2)
    return pairs, np.arange(len(pairs)) < len(same)


def best_threshold(distances: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """The distance that separates ``same`` from different pairs best, and the accuracy there."""
    order = np.argsort(distances)
    sorted_same = same[order].astype(float)
    accepted = np.concatenate([[0], np.cumsum(sorted_same)])
    rejected = (1 - sorted_same).sum() - np.concatenate([[0], np.cumsum(1 - sorted_same)])
    correct = accepted + rejected
    best = int(correct.argmax())
    edges = np.concatenate([[distances.min() - 1e-6], distances[order], [distances.max() + 1e-6]])
    return float((edges[best] + edges[best + 1]) / 2), float(correct[best] / len(same))


def stranger_distances(identity: np.ndarray, persons: np.ndarray) -> np.ndarray:
    """Distances of all pairs of different named persons."""
    named = persons != ""
    identity, persons = identity[named], persons[named]
    distances = np.sqrt(np.maximum(2 - 2 * identity @ identity.T, 0))
    return distances[np.triu(persons[:, None] != persons[None, :])]


def calibrate(network: PerceptionNetwork, table: FaceTable, *, seed: int = 0) -> dict[str, float]:
    """Set the calibration buffers of ``network`` from validation crops; returns each attribute's ROC area.

    Probabilities by Platt scaling; the identity scale from pairs of validation persons; the weights of the feature maps
    so that each contributes equally and unrelated faces are 1 apart on average.

    Masks are drawn, and easier to see than real ones: half way between drawn masks and bare faces, real masks would be
    missed. So the probability of a mask is 0.5 where `FALSE_MASKS` of the bare validation crops score higher, if that
    is lower than where Platt scaling puts it.
    """
    network.slope.fill_(1)
    network.offset.fill_(0)
    network.identity_scale.fill_(1)
    rows = table.where("valid", masked=None)
    seen = predict(network, table, rows)
    areas = {}
    for index, name in enumerate(network.config.attributes):
        labels = table.attributes[rows, index]
        known = ~np.isnan(labels)
        areas[name] = roc_area(seen.logits[known, index], labels[known])
        if not np.isnan(areas[name]):
            slope, offset = platt(torch.from_numpy(seen.logits[known, index]), torch.from_numpy(labels[known]))
            if name == "mask":
                bare = seen.logits[known & (labels == 0), index]
                offset = max(offset, -slope * float(np.quantile(bare, 1 - FALSE_MASKS)))
            network.slope[index], network.offset[index] = slope, offset
    plain = ~table.masked[rows]
    pairs, same = pairs_of_persons(table.person[rows][plain], 3000, seed=seed)
    if len(pairs):
        identity = seen.identity[plain]
        threshold, _ = best_threshold(np.linalg.norm(identity[pairs[:, 0]] - identity[pairs[:, 1]], axis=1), same)
        network.identity_scale.fill_(SAME_PERSON / threshold)
        strangers = stranger_distances(identity, table.person[rows][plain]) * SAME_PERSON / threshold
        network.accept_distances.copy_(torch.from_numpy(np.quantile(strangers, ACCEPT_RATES)))
    _weigh_features(network, table, rows[plain], seed)
    return areas


@torch.no_grad()
def whiten_identity(network: PerceptionNetwork, table: FaceTable, *, shrinkage: float = 3.0) -> None:
    """Centre the identity head on training crops and whiten it within persons, in place (WCCN, Hatch et al. 2006).

    Directions in which the crops of one person scatter count less. The scatter's estimate, of few hundred persons, is
    shrunk towards a multiple of the identity matrix, ``shrinkage`` times as heavy. Both end up in the head's weights.
    """
    rows = table.where("train")
    rows = rows[table.person[rows] != ""]
    persons, inverse, counts = np.unique(table.person[rows], return_inverse=True, return_counts=True)
    if (counts > 1).sum() < 20:
        return
    flat = []
    hook = network.identity_head.register_forward_hook(lambda module, inputs, output: flat.append(output.float()))
    predict(network, table, rows)
    hook.remove()
    raw = torch.cat(flat).double().cpu().numpy()
    length = np.linalg.norm(raw, axis=1).mean()
    sums = np.zeros((len(persons), raw.shape[1]))
    np.add.at(sums, inverse, raw)
    several = counts[inverse] > 1
    within = (raw - (sums / counts[:, None])[inverse])[several]
    scatter = within.T @ within / (several.sum() - (counts > 1).sum())
    scatter += shrinkage * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    root = np.linalg.cholesky(np.linalg.inv(scatter)).T
    mean = raw.mean(axis=0)
    # The length of the raw vectors is kept, since half precision has to hold them.
    root *= length / np.linalg.norm((raw - mean) @ root.T, axis=1).mean()
    head = network.identity_head
    turn = torch.from_numpy(root).to(head.weight.device)
    head.weight.copy_((turn @ head.weight.double()).to(head.weight.dtype))
    bias = turn @ (head.bias.double() - torch.from_numpy(mean).to(head.bias.device))
    head.bias.copy_(bias.to(head.bias.dtype))


@torch.no_grad()
def _weigh_features(network: PerceptionNetwork, table: FaceTable, rows: np.ndarray, seed: int) -> None:
    rng = np.random.RandomState(seed)
    chosen = rng.choice(rows, (2, min(256, len(rows))))
    a, b = (network.perceive(table.images(side).float() / 127.5 - 1) for side in chosen)
    count = len(network.feature_weights)
    weights = []
    for index in range(count):
        network.feature_weights.zero_()
        network.feature_weights[index] = 1
        weights.append(1 / (count * network.perceptual_distance(a, b).mean().item() + 1e-12))
    network.feature_weights.copy_(torch.tensor(weights))


def finish(network: PerceptionNetwork, table: FaceTable, *, least_area: float = 0.8) -> PerceptionNetwork:
    """The calibrated network for inference, without the attributes that it did not learn (ROC area too small).

    ``network`` itself is left as it was trained.
    """
    network = copy.deepcopy(network)
    whiten_identity(network, table)
    areas = calibrate(network, table)
    kept = tuple(n for n in network.config.attributes if n in ALWAYS_KEPT or areas[n] >= least_area)
    return fold(network, kept)
