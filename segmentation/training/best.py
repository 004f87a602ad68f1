"""What is kept of a network that parses the val parts better than those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from segmentation.datasets import open_pictures
from segmentation.drawing.contact import Prediction
from segmentation.drawing.run import draw_best
from segmentation.errors import ConfigError
from segmentation.metrics import Confusion
from segmentation.predict import has_fast_bf16, pick_device
from segmentation.pspnet import PSPNet
from segmentation.training import state
from segmentation.training.config import TrainConfig
from segmentation.training.validation import validate


def keep_best(
    run: Path,
    config: TrainConfig,
    network: PSPNet,
    epoch: int,
    confusion: Confusion,
    shown: Sequence[Prediction],
) -> None:
    """Weights, figures and pictures of a network into its run's folder, for people and `export`."""
    labels = config.labels
    figures = {
        "epoch": epoch,
        "miou": confusion.miou,
        "pixel_accuracy": confusion.pixel_accuracy,
        "per_class": {  # JSON has no NaN, which a class that val never shows would be
            name: None if math.isnan(iou) else iou
            for name, iou in zip(labels.classes, confusion.iou.tolist(), strict=True)
        },
        "network": network.config.to_json(),
        "input": config.input.to_json(),
        "label_set": labels.name,
        "labels": asdict(labels),
        "schedule": asdict(config.schedule),
        "augmentation": asdict(config.augmentation),
    }
    state.save_best(run, network, figures)
    draw_best(run, confusion, shown, labels)


def blend(
    config: TrainConfig,
    data: Path,
    runs: tuple[Path, Path],
    share: float,
    out: Path,
    device: str = "auto",
) -> Confusion:
    """A network between two runs of one shape, where the second began from the first's weights.

    Each weight is `(1 - share)` of the first run's best plus `share` of the second's last, as
    Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, mix what a network knew with
    what it learned later: on such a line both stay nearly whole.

    Args:
        config: of either run; says the network, the val parts and the input rule.
        data: the data set's root folder.
        runs: folders of the two runs.
        share: of the second, 0 to 1.
        out: folder that becomes a run's, for `export`.
        device: torch device name, or "auto".

    Returns:
        Confusion over the val parts.

    Raises:
        ConfigError: the share is none, or the networks differ in shape.
        CheckpointError: a run has no such weights.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"share is 0 to 1, not {share:g}")
    first, second = state.load_best(runs[0]), state.load_last(runs[1])
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        raise ConfigError(f"{runs[0]} and {runs[1]} hold networks of different shapes")
    network = PSPNet(config.network)
    mixed = {
        key: torch.lerp(value, second[key], share) if value.is_floating_point() else value
        for key, value in first.items()
    }
    network.load_state_dict(mixed)
    place = pick_device(device)
    network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    val = open_pictures(data, config.val, config.format, config.labels)
    confusion, shown = validate(network, config.input, val, place, has_fast_bf16(place))
    out.mkdir(parents=True, exist_ok=True)
    keep_best(out, config, network, 0, confusion, shown)
    return confusion
