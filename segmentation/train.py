"""Training: SGD with a polynomial rate, resumable, the best state on the val parts kept."""

from __future__ import annotations

import csv
import json
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from segmentation.backbones import freeze_batch_norm, load_pretrained
from segmentation.datasets import (
    Augmentation,
    ClassMap,
    Pair,
    Rgb,
    TrainingSet,
    find_pairs,
    read_pair,
)
from segmentation.errors import ConfigError
from segmentation.labels import IGNORE, LABEL_SETS, LabelSet
from segmentation.metrics import Confusion
from segmentation.preprocess import InputRule, to_batch
from segmentation.pspnet import NetworkConfig, PSPNet


@dataclass(frozen=True)
class Schedule:
    """Optimisation settings.

    Attributes:
        epochs: passes over the train parts.
        frozen_epochs: of these, how many leave the backbone as it is.
        batch: crops per step; accumulate: steps per update of the weights.
        head_rate, backbone_rate: learning rates at the start of the polynomial decay.
        power: exponent of the decay (PSPNet: 0.9).
        aux_weight: weight of the auxiliary loss (PSPNet: 0.4).
        class_weight_limit: rare classes weigh more by the inverse square root of their share, at
            most this many times as much as the mean class; 0 weighs all alike.
        hard_share: share of the labelled pixels with the highest loss that count (online hard
            example mining); 1.0 counts all.
        val_every: epochs between evaluations on the val parts.
    """

    epochs: int = 12
    frozen_epochs: int = 12
    batch: int = 16
    accumulate: int = 1
    head_rate: float = 0.05
    backbone_rate: float = 0.005
    momentum: float = 0.9
    weight_decay: float = 1e-4
    power: float = 0.9
    aux_weight: float = 0.4
    class_weight_limit: float = 6.0
    hard_share: float = 1.0
    val_every: int = 1


@dataclass(frozen=True)
class TrainConfig:
    """One training run, as a TOML file below `segmentation/configs/` describes it.

    Attributes:
        label_set: name in `segmentation.labels.LABEL_SETS`.
        network: keyword arguments of `NetworkConfig` except `classes`.
        pretrained: safetensors file of the backbone, relative to the data folder's parent, or None.
        start_from: safetensors file of a whole network (such as an earlier run's), or None.
        train, val: folders below the data folder.
        rendered: how many pictures of `segmentation.scenes` join the train parts.
        input: size rule and normalisation, for val and later for prediction.
    """

    label_set: str
    network: dict[str, Any]
    train: list[str]
    val: list[str]
    pretrained: str | None = None
    start_from: str | None = None
    rendered: int = 0
    seed: int = 0
    input: InputRule = field(default_factory=InputRule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def labels(self) -> LabelSet:
        """The label set; ConfigError when the name is unknown."""
        if self.label_set not in LABEL_SETS:
            raise ConfigError(f"unknown label set {self.label_set!r}")
        return LABEL_SETS[self.label_set]

    def network_config(self) -> NetworkConfig:
        """The network's shape."""
        return NetworkConfig.from_json({**self.network, "classes": len(self.labels)})


def load_config(path: Path) -> TrainConfig:
    """Read a TOML file; ConfigError names the setting that is unknown or of the wrong kind."""
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    sections = {"input": InputRule, "augmentation": Augmentation, "schedule": Schedule}
    try:
        for name, kind in sections.items():
            if name in values:
                values[name] = kind(
                    **{k: tuple(v) if isinstance(v, list) else v for k, v in values[name].items()}
                )
        return TrainConfig(**values)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}") from error


def class_weights(pairs: list[tuple[Rgb, ClassMap]], classes: int, limit: float) -> Tensor:
    """Inverse square root of each class's share, mean 1 before clamping, float32 (classes,)."""
    counts = np.zeros(classes, np.int64)
    for _, mask in pairs:
        counts += np.bincount(mask[mask != IGNORE], minlength=classes)[:classes]
    if limit <= 0:
        return torch.ones(classes)
    share = np.maximum(counts, 1) / counts.sum()
    weights = 1 / np.sqrt(share)
    weights *= (counts > 0).sum() / weights[counts > 0].sum()
    return torch.from_numpy(np.clip(weights, 1 / limit, limit)).float()


def parse_loss(
    logits: Tensor, mask: Tensor, weights: Tensor, hard_share: float, align_corners: bool
) -> Tensor:
    """Cross-entropy at half the crop's resolution: a quarter of the cost, the same gradients nearly.

    Args:
        logits: (B, C, h, w) of any resolution; mask: int64 (B, H, W), 255 is left out.
        hard_share: share of the labelled pixels that count, hardest first.
    """
    labels = mask[:, ::2, ::2]
    full = F.interpolate(
        logits.float(), labels.shape[-2:], mode="bilinear", align_corners=align_corners
    )
    if hard_share >= 1:
        return F.cross_entropy(full, labels, weights, ignore_index=IGNORE)
    losses = F.cross_entropy(full, labels, weights, ignore_index=IGNORE, reduction="none")
    losses = losses[labels != IGNORE]
    return losses.topk(max(1, int(losses.numel() * hard_share))).values.mean()


class Trainer:
    """One run: holds the network, the data in memory, the optimiser and the log.

    Args:
        config: what to train.
        data: folder that `config.train` and `config.val` lie in.
        run: folder for the checkpoint, the log and the best weights; a run found there is resumed.
        device: torch device name.
    """

    def __init__(self, config: TrainConfig, data: Path, run: Path, device: str = "cpu") -> None:
        torch.manual_seed(config.seed)
        self.config, self.run, self.device = config, run, torch.device(device)
        run.mkdir(parents=True, exist_ok=True)
        classes = len(config.labels)
        pairs = self._read(data, config.train, classes) + self._rendered()
        self.val = self._read(data, config.val, classes)
        self.weights = class_weights(pairs, classes, config.schedule.class_weight_limit)
        self.weights = self.weights.to(self.device)
        self.training_set = TrainingSet(pairs, config.augmentation, config.seed)
        self.network = PSPNet(config.network_config())
        if config.pretrained:
            load_pretrained(self.network.backbone, load_file(data.parent / config.pretrained))
        if config.start_from:
            self.network.load_state_dict(load_file(config.start_from), strict=False)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = self._optimiser()
        self.epoch, self.best = 0, -1.0
        self.history: list[dict[str, Any]] = []
        self._resume()

    def _read(self, data: Path, folders: list[str], classes: int) -> list[tuple[Rgb, ClassMap]]:
        pairs: list[Pair] = [pair for name in folders for pair in find_pairs(data / name)]
        return [read_pair(pair, classes) for pair in tqdm(pairs, "reading", leave=False)]

    def _rendered(self) -> list[tuple[Rgb, ClassMap]]:
        if not self.config.rendered:
            return []
        from segmentation.scenes import render

        scenes = (render(100_000 + seed) for seed in range(self.config.rendered))
        return [(scene.image, scene.mask) for scene in scenes]

    def _optimiser(self) -> torch.optim.SGD:
        schedule = self.config.schedule
        backbone = [p for b in self.network.backbone.trainable_blocks() for p in b.parameters()]
        heads = [p for head in self.network.heads() for p in head.parameters()]
        groups = [
            {"params": heads, "base_rate": schedule.head_rate},
            {"params": backbone, "base_rate": schedule.backbone_rate},
        ]
        return torch.optim.SGD(
            groups, schedule.head_rate, schedule.momentum, weight_decay=schedule.weight_decay
        )

    # --- one epoch -------------------------------------------------------------------------

    def _set_mode(self) -> bool:
        """Train the heads, and the backbone's free blocks once they thaw; True when they do."""
        thawed = self.epoch >= self.config.schedule.frozen_epochs
        self.network.train()
        # Running statistics of ImageNet stay: batches of 16 crops would only blur them.
        freeze_batch_norm(self.network.backbone)
        self.network.backbone.requires_grad_(False)
        if thawed:
            for block in self.network.backbone.trainable_blocks():
                block.requires_grad_(True)
        return thawed

    def _set_rate(self, step: int, steps: int) -> None:
        share = (self.epoch + step / steps) / self.config.schedule.epochs
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_rate"] * (1 - share) ** self.config.schedule.power

    def _loader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        self.training_set.epoch = self.epoch
        order = torch.Generator().manual_seed(self.config.seed * 1000 + self.epoch)
        workers = 1 if self.device.type == "cpu" else 8
        return DataLoader(
            self.training_set,
            self.config.schedule.batch,
            shuffle=True,
            generator=order,
            num_workers=workers,
            drop_last=True,
            prefetch_factor=4,
            pin_memory=self.device.type == "cuda",
        )

    def _batch_loss(self, image: Tensor, mask: Tensor) -> Tensor:
        schedule, align = self.config.schedule, self.network.config.align_corners
        image = image.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        mask = mask.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            maps = self.network(self.config.input.normalise(image), general=False)
        loss = parse_loss(maps.logits, mask, self.weights, schedule.hard_share, align)
        if maps.aux_logits is not None:
            aux = parse_loss(maps.aux_logits, mask, self.weights, schedule.hard_share, align)
            loss = loss + schedule.aux_weight * aux
        return loss / schedule.accumulate

    def _train_epoch(self) -> float:
        self._set_mode()
        loader = self._loader()
        losses: list[float] = []
        bar = tqdm(loader, f"epoch {self.epoch + 1}/{self.config.schedule.epochs}", mininterval=5)
        for step, (image, mask) in enumerate(bar):
            self._set_rate(step, len(loader))
            loss = self._batch_loss(image, mask)
            loss.backward()  # type: ignore[no-untyped-call]
            if (step + 1) % self.config.schedule.accumulate == 0:
                nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
            losses.append(loss.item() * self.config.schedule.accumulate)
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
        return float(np.mean(losses))

    # --- evaluation, checkpoints -----------------------------------------------------------

    def evaluate(self) -> Confusion:
        """Single scale over the val parts, at the masks' own resolution."""
        self.network.eval()
        return evaluate_pairs(self.network, self.config.input, self.val, self.device)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
        }

    def _resume(self) -> None:
        path = self.run / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location="cpu")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.best = state["epoch"], state["best"]
        self.history = state["history"]

    def _checkpoint(self) -> None:
        temporary = self.run / "checkpoint.pt.tmp"
        torch.save(self._state(), temporary)
        temporary.rename(self.run / "checkpoint.pt")  # atomic: a kill leaves the old one whole

    def _log(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        with (self.run / "log.csv").open("w", newline="") as file:
            fields = ["epoch", "loss", "miou", "pixel_accuracy", "seconds"]
            writer = csv.DictWriter(file, fields, restval="")
            writer.writeheader()
            writer.writerows(self.history)

    def _keep_best(self, confusion: Confusion) -> None:
        self.best = confusion.miou
        save_file(
            {key: value.contiguous() for key, value in self.network.state_dict().items()},
            self.run / "best.safetensors",
        )
        names = self.config.labels.classes
        figures = {
            "epoch": self.epoch,
            "miou": confusion.miou,
            "pixel_accuracy": confusion.pixel_accuracy,
            "per_class": dict(zip(names, confusion.iou.tolist(), strict=True)),
            "network": self.network.config.to_json(),
            "input": self.config.input.to_json(),
            "label_set": self.config.label_set,
            "schedule": asdict(self.config.schedule),
            "augmentation": asdict(self.config.augmentation),
        }
        (self.run / "best.json").write_text(json.dumps(figures, indent=1))

    def epochs(self) -> Iterator[dict[str, Any]]:
        """Train to the end; yields the log's row after each epoch."""
        schedule = self.config.schedule
        while self.epoch < schedule.epochs:
            started = time.monotonic()
            loss = self._train_epoch()
            self.epoch += 1
            row: dict[str, Any] = {"epoch": self.epoch, "loss": round(loss, 4)}
            if self.epoch % schedule.val_every == 0 or self.epoch == schedule.epochs:
                confusion = self.evaluate()
                row |= {
                    "miou": round(confusion.miou, 4),
                    "pixel_accuracy": round(confusion.pixel_accuracy, 4),
                }
                if confusion.miou > self.best:
                    self._keep_best(confusion)
            row["seconds"] = round(time.monotonic() - started, 1)
            self._log(row)
            self._checkpoint()
            yield row


@torch.inference_mode()
def evaluate_pairs(
    network: PSPNet,
    rule: InputRule,
    pairs: list[tuple[Rgb, ClassMap]],
    device: torch.device,
    flip: bool = False,
) -> Confusion:
    """Confusion over labelled pictures, each class map brought to its mask's own size.

    Args:
        flip: average the probabilities with those of the mirror image.
    """
    confusion = Confusion(network.config.classes)
    for image, mask in tqdm(pairs, "evaluating", leave=False, mininterval=5):
        pixels = to_batch([rule.resize(image)]).to(device)
        if flip:
            pixels = torch.cat([pixels, pixels.flip(-1)])
        batch = rule.normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(batch, general=False).logits.float()
        if flip:
            probabilities = logits.softmax(1)
            logits = ((probabilities[:1] + probabilities[1:].flip(-1)) / 2).log()
        full = network.upsample(logits, mask.shape)
        confusion.add(mask, full.argmax(1)[0].to(torch.uint8).cpu().numpy())
    return confusion


def with_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The same run, shorter or longer; for trials."""
    schedule = replace(
        config.schedule, epochs=epochs, frozen_epochs=min(epochs, config.schedule.frozen_epochs)
    )
    return replace(config, schedule=schedule)
