"""The loss: cross-entropy over labelled pixels, weighted by class, of all pixels or the hardest."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segmentation.datasets import ClassMap, count_classes
from segmentation.labels import IGNORE


def class_weights(masks: Iterable[ClassMap], classes: int, limit: float) -> Tensor:
    """Inverse square root of each class's share, mean 1 before clamping, float32 (classes,).

    Args:
        masks: class maps of the train parts; not looked at when `limit` is 0.
        limit: no weight is over this or under its inverse; 0 weighs all classes alike.
    """
    if limit <= 0:
        return torch.ones(classes)
    counts = count_classes(masks, classes)
    share = np.maximum(counts, 1) / max(counts.sum(), 1)
    weights = 1 / np.sqrt(share)
    if counts.any():
        weights *= (counts > 0).sum() / weights[counts > 0].sum()
    return torch.from_numpy(np.clip(weights, 1 / limit, limit)).float()


def parse_loss(
    logits: Tensor,
    mask: Tensor,
    weights: Tensor,
    hard_share: float = 1.0,
    align_corners: bool = False,
    step: int = 2,
) -> Tensor:
    """Weighted mean of the cross-entropy over the labelled pixels that count; 0 when none is labelled.

    With `hard_share` below 1 only the pixels of the highest loss count (online hard example mining,
    Shrivastava et al., CVPR 2016, taken over the pixels of a batch).

    Args:
        logits: (B, C, h, w) of any resolution.
        mask: int64 (B, H, W), 255 is left out.
        weights: float32 (C,) of the classes.
        hard_share: share of the labelled pixels that count, hardest first.
        step: only every n-th row and column of the mask is looked at.
    """
    labels = mask[:, ::step, ::step]
    full = F.interpolate(
        logits.float(), labels.shape[-2:], mode="bilinear", align_corners=align_corners
    )
    labelled = labels != IGNORE
    if not labelled.any():
        return logits.sum() * 0
    if hard_share >= 1:
        return F.cross_entropy(full, labels, weights, ignore_index=IGNORE)
    losses = F.cross_entropy(full, labels, weights, ignore_index=IGNORE, reduction="none")[labelled]
    hardest, where = losses.topk(max(1, int(losses.numel() * hard_share)))
    return hardest.sum() / weights[labels[labelled][where]].sum()
