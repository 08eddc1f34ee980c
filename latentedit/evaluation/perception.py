"""Measured quality of a perception network on held-out crops: figures per head and group, bars, worst cases.

Legend: ``n`` crops. Every figure is a plain number or dictionary, so that the report is JSON as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentedit.evaluation.robustness import robustness, speed_figures
from latentedit.networks.perception import ACCEPT_RATES, ATTRIBUTES, PerceptionNetwork
from latentedit.training.data.labels import FaceTable
from latentedit.training.perception.finish import (
    SAME_PERSON,
    Predictions,
    best_threshold,
    pairs_of_persons,
    predict,
    roc_area,
)

AGE_GROUPS = ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 116))
ETHNICITIES = ("white", "black", "asian", "indian", "other")

BARS: tuple[tuple[str, tuple[str, ...], str, float], ...] = (
    ("age MAE on utkface, years", ("age", "all", "mae"), "<=", 6.5),
    ("smile on celeba10k", ("attributes", "smile", "celeba10k", "accuracy"), ">=", 0.92),
    ("smile on genki4k", ("attributes", "smile", "genki4k", "accuracy"), ">=", 0.88),
    ("heavy make-up on celeba10k", ("attributes", "makeup", "celeba10k", "accuracy"), ">=", 0.88),
    ("eyeglasses on celeba10k", ("attributes", "eyeglasses", "celeba10k", "accuracy"), ">=", 0.97),
    ("gender expression on utkface and celeba10k", ("attributes", "gender", "all", "accuracy"), ">=", 0.95),
    ("mask on facemask", ("attributes", "mask", "facemask", "accuracy"), ">=", 0.95),
    ("yaw MAE on genki4k, degrees", ("pose", "yaw", "mae"), "<=", 8.0),
    ("identity on LFW pairs", ("identity", "accuracy"), ">=", 0.92),
    ("ms per face, one core, batches", ("speed", "ms_per_face"), "<=", 15.0),
)


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of a table and what the network says of them."""

    table: FaceTable
    rows: np.ndarray
    seen: Predictions

    def select(self, *datasets: str, masked: bool = False) -> np.ndarray:
        """Boolean over ``rows``: crops of these data sets (none named: all)."""
        chosen = self.table.masked[self.rows] == masked
        return chosen & np.isin(self.table.dataset[self.rows], datasets) if datasets else chosen


def look(network: PerceptionNetwork, table: FaceTable) -> HeldOut:
    """Run ``network`` over everything held out."""
    rows = table.where("held", masked=None)
    return HeldOut(table, rows, predict(network, table, rows))


def groups_of(table: FaceTable, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(name, boolean over ``rows``) of every group that labels tell apart: age, gender, ethnicity, CelebA's young."""
    male = table.attributes[rows, ATTRIBUTES.index("gender")]
    young = table.attributes[rows, ATTRIBUTES.index("young")]
    for low, high in AGE_GROUPS:
        yield f"age {low}-{high}", (table.age[rows] >= low) & (table.age[rows] <= high)
    yield "male", male == 1
    yield "female", male == 0
    yield "young", young == 1
    yield "not young", young == 0
    for code, name in enumerate(ETHNICITIES):
        yield name, table.ethnicity[rows] == code


def per_group(held: HeldOut, chosen: np.ndarray, measure: Any) -> dict[str, Any]:
    """``measure(positions)`` for all ``chosen`` crops and for every group with at least 20 of them."""
    result = {"all": measure(np.flatnonzero(chosen))}
    for name, member in groups_of(held.table, held.rows):
        positions = np.flatnonzero(chosen & member)
        if len(positions) >= 20:
            result[name] = measure(positions)
    return result


def age_figures(held: HeldOut, *, masked: bool = False) -> dict[str, Any]:
    """Mean absolute and mean error in years on utkface, per group."""
    labels = held.table.age[held.rows]
    error = held.seen.scores["age"] - labels

    def measure(positions: np.ndarray) -> dict[str, float]:
        own = error[positions]
        return {"n": len(own), "mae": float(np.abs(own).mean()), "bias": float(own.mean())}

    return per_group(held, held.select("utkface", masked=masked) & ~np.isnan(labels), measure)


def attribute_figures(held: HeldOut, name: str, *, masked: bool = False) -> dict[str, Any]:
    """Accuracy of one attribute per data set, over all of them ("all"), and per group ("groups")."""
    labels = held.table.attributes[held.rows, ATTRIBUTES.index(name)]
    scores = held.seen.scores[name]

    def measure(positions: np.ndarray) -> dict[str, float]:
        return binary_figures(scores[positions], labels[positions])

    result: dict[str, Any] = {}
    base = held.select(masked=masked) & ~np.isnan(labels)
    if name == "mask":
        base = (held.select("facemask") | held.select(masked=True)) & ~np.isnan(labels)
    if not base.any():
        return {"groups": {}}
    for dataset in ("utkface", "celeba10k", "genki4k", "lfw", "facemask"):
        positions = np.flatnonzero(base & (held.table.dataset[held.rows] == dataset))
        if len(positions) and (name != "mask" or dataset == "facemask"):
            result[dataset] = measure(positions)
    groups = per_group(held, base, measure)
    return {**result, "all": groups.pop("all"), "groups": groups}


def binary_figures(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy at 0.5, its mean over the two classes, ROC area, and the calibration error over ten bins."""
    right = (scores > 0.5) == (labels > 0.5)
    positive = labels > 0.5
    figures = {"n": len(labels), "positive": float(positive.mean()), "accuracy": float(right.mean())}
    if positive.any() and not positive.all():
        figures["balanced"] = float((right[positive].mean() + right[~positive].mean()) / 2)
        figures["roc_area"] = roc_area(scores, labels)
    bins = np.minimum((scores * 10).astype(int), 9)
    gaps = [abs(scores[bins == b].sum() - labels[bins == b].sum()) for b in range(10)]
    return figures | {"calibration_error": float(sum(gaps) / len(labels))}


def pose_figures(held: HeldOut) -> dict[str, dict[str, float]]:
    """Mean absolute error and correlation of yaw and pitch on genki4k, and the error of always saying the mean."""
    result = {}
    for axis, name in enumerate(("yaw", "pitch")):
        chosen = np.flatnonzero(held.select("genki4k") & ~np.isnan(held.table.pose[held.rows, axis]))
        label, said = held.table.pose[held.rows[chosen], axis], held.seen.scores[name][chosen]
        if len(chosen):
            constant = float(np.abs(label - np.median(label)).mean())
            mae = float(np.abs(said - label).mean())
            correlation = float(np.corrcoef(said, label)[0, 1])
            result[name] = {"n": len(chosen), "mae": mae, "constant_mae": constant, "correlation": correlation}
    return result


def identity_figures(network: PerceptionNetwork, held: HeldOut, *, pairs: int = 6000) -> dict[str, Any]:
    """Same or different on pairs of held-out LFW persons, with dlib's own descriptors beside it."""
    chosen = np.flatnonzero(held.select("lfw"))
    if not len(chosen):
        return {}
    persons = held.table.person[held.rows[chosen]]
    couples, same = pairs_of_persons(persons, pairs, seed=1)
    if not len(couples):
        return {}
    scale = float(network.identity_scale)
    vectors = held.seen.identity[chosen]
    distances = np.linalg.norm(vectors[couples[:, 0]] - vectors[couples[:, 1]], axis=1) * scale
    threshold, accuracy = best_threshold(distances, same)
    figures: dict[str, Any] = {
        "pairs": len(couples), "same": int(same.sum()), "persons": len(np.unique(persons)), "accuracy": accuracy,
        "best_threshold": threshold, "roc_area": roc_area(-distances, same),
        "accuracy_at_0.6": float(((distances < SAME_PERSON) == same).mean()),
        "accuracy_in_ten_folds": ten_folds(distances, same),
        "at_accept_rates": {
            str(rate): {
                "distance": (limit := network.accept_distance(rate)),
                "false_accepts": float((distances[~same] < limit).mean()),
                "true_accepts": float((distances[same] < limit).mean()),
            }
            for rate in ACCEPT_RATES
        },
    }  # fmt: skip
    known = held.table.identity[held.rows[chosen]]
    if not np.isnan(known).any(axis=1).all():
        whole = ~(np.isnan(known[couples[:, 0], 0]) | np.isnan(known[couples[:, 1], 0]))
        theirs = np.linalg.norm(known[couples[:, 0]] - known[couples[:, 1]], axis=1)
        figures["dlib"] = {
            "accuracy": best_threshold(theirs[whole], same[whole])[1],
            "rank_correlation": rank_correlation(distances[whole], theirs[whole]),
            "rank_correlation_different": rank_correlation(distances[whole & ~same], theirs[whole & ~same]),
        }
    return figures | {"groups": _identity_groups(held, chosen, couples, distances, same, threshold)}


def _identity_groups(
    held: HeldOut, chosen: np.ndarray, couples: np.ndarray, distances: np.ndarray, same: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Pairs inside groups that the network itself tells apart, since LFW has no such labels."""
    result = {}
    male, age = held.seen.scores["gender"][chosen], held.seen.scores["age"][chosen]
    groups = {"seen as male": male > 0.5, "seen as female": male <= 0.5, "seen as under 40": age < 40}
    for name, member in (groups | {"seen as 40 and over": age >= 40}).items():
        inside = member[couples[:, 0]] & member[couples[:, 1]]
        if inside.sum() >= 20:
            right = (distances[inside] < threshold) == same[inside]
            accepted = float((distances[inside & ~same] < threshold).mean())
            result[name] = {"pairs": int(inside.sum()), "accuracy": float(right.mean()), "false_accepts": accepted}
    return result


def ten_folds(distances: np.ndarray, same: np.ndarray, *, seed: int = 0) -> float:
    """Accuracy where each tenth is judged by the threshold that is best on the other nine (LFW's protocol)."""
    fold = np.random.RandomState(seed).permutation(len(same)) % 10
    right = 0
    for number in range(10):
        threshold, _ = best_threshold(distances[fold != number], same[fold != number])
        right += int(((distances[fold == number] < threshold) == same[fold == number]).sum())
    return right / len(same)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's."""
    ranks = np.stack([np.argsort(np.argsort(x)) for x in (a, b)]).astype(float)
    return float(np.corrcoef(ranks)[0, 1])


def report(network: PerceptionNetwork, table: FaceTable) -> tuple[dict[str, Any], HeldOut]:
    """Everything of this module, and the bars."""
    held = look(network, table)
    names = network.config.attributes
    figures: dict[str, Any] = {
        "weights": sum(p.numel() for p in network.parameters()),
        "age": age_figures(held),
        "attributes": {name: attribute_figures(held, name) for name in names},
        "pose": pose_figures(held),
        "identity": identity_figures(network, held),
        "robustness": robustness(network, table),
        "speed": speed_figures(network),
    }
    if held.select(masked=True).any():
        behind = ("eyeglasses", "gender", "hat", "smile", "makeup")
        figures["behind_drawn_masks"] = {"age": age_figures(held, masked=True)["all"]} | {
            name: attribute_figures(held, name, masked=True).get("all") for name in behind if name in names
        }
    figures["bars"] = list(bars(figures))
    return figures, held


def bars(figures: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each bar with the figure that was measured and whether it is met; None where nothing could be measured."""
    for name, path, sense, limit in BARS:
        value: Any = figures
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        met = None if value is None else bool(value <= limit if sense == "<=" else value >= limit)
        yield {"bar": name, "measured": value, "limit": f"{sense} {limit:g}", "met": met}


def worst_cases(held: HeldOut, name: str, *, count: int = 64) -> list[tuple[int, str]]:
    """Rows of the largest mistakes of one head among plain crops, each with a caption (said / label)."""
    table, rows = held.table, held.rows
    plain = held.select()
    if name == "age":
        label, scale = table.age[rows], 1.0
    elif name in ("yaw", "pitch"):
        label, scale = table.pose[rows, ("yaw", "pitch").index(name)], 1.0
    else:
        label, scale = table.attributes[rows, ATTRIBUTES.index(name)], 100.0
        if name == "mask":
            plain = held.select("facemask") | held.select(masked=True)
    said = held.seen.scores[name]
    error = np.where(plain & ~np.isnan(label), np.abs(said - label), -1)
    order = np.argsort(-error, kind="stable")[:count]
    captions = [f"{said[i] * scale:.0f} / {label[i] * scale:.0f}" for i in order if error[i] >= 0]
    return [(int(rows[i]), text) for i, text in zip(order, captions, strict=False)]
