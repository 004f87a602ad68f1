"""`manage.py evaluate layout`: does ranking by layout find pictures with the same things in the same
places? Judged by ground-truth masks, which the ranking never sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmentation.datasets import Pair, find_pairs, read_pair
from segmentation.describe import GRID, Description
from segmentation.labels import IGNORE
from segmentation.predict import Parser

LEVELS = 4
Matrix = NDArray[np.float32]


def cell_shares(mask: NDArray[np.uint8], classes: int) -> tuple[Matrix, Matrix]:
    """Shares of the classes among the labelled pixels of each of 8×8 cells, and the share labelled.

    Returns float32 (64, C) and (64,).
    """
    rows = np.arange(mask.shape[0]) * GRID // mask.shape[0]
    columns = np.arange(mask.shape[1]) * GRID // mask.shape[1]
    cell = rows[:, None] * GRID + columns[None, :]
    values = np.where(mask == IGNORE, classes, mask)
    counts = np.bincount(
        (cell * (classes + 1) + values).ravel(), minlength=GRID * GRID * (classes + 1)
    )
    table = counts.reshape(GRID * GRID, classes + 1).astype(np.float32)
    labelled = table[:, :classes].sum(1)
    shares = table[:, :classes] / np.maximum(labelled, 1)[:, None]
    return shares, labelled / table.sum(1)


def agreement(shares: Matrix, labelled: Matrix) -> Matrix:
    """(N, N) mean histogram intersection of the cells of two masks, 0 to 1.

    A cell counts by how much of it is labelled in both pictures.

    Args:
        shares: (N, 64, C); labelled: (N, 64).
    """
    count = len(shares)
    result = np.zeros((count, count), np.float32)
    for i in range(count):
        weights = np.minimum(labelled[i], labelled)
        same = np.minimum(shares[i], shares).sum(2)
        result[i] = (weights * same).sum(1) / np.maximum(weights.sum(1), 1e-6)
    return result


def levels_of(agreements: Matrix) -> NDArray[np.int64]:
    """Graded relevance 0 to 4: fifths of the agreement."""
    return np.clip(np.floor(agreements * (LEVELS + 1)), 0, LEVELS).astype(np.int64)


def ndcg(similarity: Matrix, levels: NDArray[np.int64], at: int = 10) -> float:
    """Mean nDCG when every picture is queried against all others; gain 2^level − 1.

    Järvelin and Kekäläinen, TOIS 2002; the gain is that of Burges et al., ICML 2005.
    """
    gains = (2.0**levels - 1).astype(np.float64)
    scores = similarity.astype(np.float64).copy()
    np.fill_diagonal(scores, -np.inf)
    np.fill_diagonal(gains, -1.0)
    discount = 1 / np.log2(np.arange(at) + 2)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :at]
    found = (np.take_along_axis(gains, order, 1) * discount).sum(1)
    best = (-np.sort(-gains, axis=1)[:, :at] * discount).sum(1)
    useful = best > 0
    return float((found[useful] / best[useful]).mean())


def validation_pairs(data: Path) -> list[Pair]:
    """Pairs below `val` folders where there are such, otherwise all."""
    pairs = find_pairs(data)
    held_out = [pair for pair in pairs if "val" in pair.image.relative_to(data).parts]
    return held_out or pairs


def evaluate_layout(parser: Parser, data: Path) -> dict[str, Any]:
    """The command's answer: nDCG@10 of ranking by layout, and of baselines on the same pictures."""
    from workers.management.commands.evaluate import (
        ImageNetBackbone,
        colour_histogram,
        cosine,
        dense_layout,
    )

    pairs = validation_pairs(data)
    classes = len(parser.manifest.labels)
    backbone = ImageNetBackbone(parser)
    truth, described, pooled, colours = [], [], [], []
    for pair in tqdm(pairs, "describing", unit="image", mininterval=1):
        image, mask = read_pair(pair, classes)
        truth.append(cell_shares(mask, classes))
        described += parser.parse([parser.prepare(image)])
        pooled.append(backbone(image))
        colours.append(colour_histogram(image))
    shares, labelled = (np.stack(part) for part in zip(*truth, strict=True))
    levels = levels_of(agreement(shares, labelled))
    spaces = {
        "context": cosine([d.context for d in described]),
        "layout": cosine([dense_layout(d) for d in described]),
        "composition": cosine([d.composition for d in described]),
    }
    return {
        "images": len(pairs),
        "ndcg_at_10": round(ndcg(spaces["layout"], levels), 4),
        "baselines": {
            "imagenet_backbone": round(ndcg(cosine(pooled), levels), 4),
            "colour_histogram": round(ndcg(cosine(colours), levels), 4),
            "random": round(ndcg(_random(len(pairs)), levels), 4),
        },
        "spaces": {name: round(ndcg(s, levels), 4) for name, s in spaces.items()},
        "default": round(ndcg(_default(spaces, parser.manifest.ranking), levels), 4),
        "predicted": _agreement_of_masks(described, shares, labelled),
    }


def _default(spaces: Mapping[str, Matrix], rank: Mapping[str, float]) -> Matrix:
    total = np.zeros_like(spaces["context"])
    for space, weight in rank.items():
        total = total + weight * spaces[space]
    return total


def _random(count: int) -> Matrix:
    return np.random.default_rng(0).random((count, count)).astype(np.float32)


def _agreement_of_masks(described: list[Description], shares: Matrix, labelled: Matrix) -> float:
    """Mean agreement of the predicted masks with the true ones: what limits the ranking."""
    classes = shares.shape[2]
    values = []
    for one, true, seen in zip(described, shares, labelled, strict=True):
        found, _ = cell_shares(one.mask, classes)
        values.append((seen * np.minimum(found, true).sum(1)).sum() / max(seen.sum(), 1e-6))
    return round(float(np.mean(values)), 4)
