"""One training run: SGD with a polynomial rate, resumable, the best state on the val parts kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segmentation.backbones import freeze_batch_norm, load_pretrained
from segmentation.checkpoints.reading import read_checkpoint
from segmentation.datasets import ClassMap, LabelledPictures, Rgb, TrainingSet, open_pictures
from segmentation.drawing.contact import Prediction
from segmentation.drawing.run import draw_history
from segmentation.errors import ConfigError, DatasetError, TrainingDiverged
from segmentation.metrics import Confusion
from segmentation.predict import has_fast_bf16, pick_device
from segmentation.pspnet import PSPNet
from segmentation.training import state
from segmentation.training.best import keep_best
from segmentation.training.config import TrainConfig
from segmentation.training.losses import class_weights, parse_loss
from segmentation.training.progress import Progress
from segmentation.training.validation import validate


class Trainer:
    """Holds the network, the data, the optimiser and the log of one run.

    A run that was killed goes on after the last epoch it finished, with the result it would have had:
    everything random is drawn from the seed and the epoch.

    Args:
        config: what to train.
        data: the data set's root folder.
        run: folder for the checkpoint, the log, the best weights and pictures; a run found there is
            resumed.
        device: torch device name, or "auto".

    Raises:
        ConfigError: settings do not fit each other, the data, or the run that is to be resumed.
        DatasetError: the data is not there or not in its format.
    """

    def __init__(self, config: TrainConfig, data: Path, run: Path, device: str = "auto") -> None:
        torch.manual_seed(config.seed)
        self.config, self.run, self.device = config, run, pick_device(device)
        precision = config.schedule.precision
        self.bf16 = precision == "bf16" or (precision == "auto" and has_fast_bf16(self.device))
        self.epoch, self.best = 0, -1.0
        self.history: list[dict[str, Any]] = []
        run.mkdir(parents=True, exist_ok=True)
        resumed = state.load_checkpoint(run, config.to_json())
        self._read(data)
        self.network = self._build(data)
        self.optimiser = self._optimiser()
        if resumed:
            self.network.load_state_dict(resumed["network"])
            self.optimiser.load_state_dict(resumed["optimiser"])
            self.epoch, self.best = resumed["epoch"], resumed["best"]
            self.history = resumed["history"]

    # --- what a run needs -------------------------------------------------------------------

    def _pictures(self, data: Path, splits: list[str]) -> LabelledPictures:
        config = self.config
        return open_pictures(data, splits, config.format, config.labels, config.loading.in_memory)

    def _read(self, data: Path) -> None:
        config, schedule = self.config, self.config.schedule
        classes = len(config.labels)
        labelled = self._pictures(data, config.train)
        limit = schedule.class_weight_limit
        pictures: Sequence[tuple[Rgb, ClassMap]] = labelled
        if config.rendered:
            pictures = [*labelled, *_rendered(config.rendered)]
        masks = (mask for _, mask in pictures) if config.rendered else labelled.masks()
        self.weights = class_weights(masks, classes, limit).to(self.device)
        self.val = self._pictures(data, config.val)
        self.training_set = TrainingSet(pictures, config.augmentation, config.seed)
        self.steps = len(pictures) // schedule.batch
        if not self.steps:
            raise ConfigError(
                f"schedule.batch is {schedule.batch}, but there are only {len(pictures)} pictures"
            )

    def _build(self, data: Path) -> PSPNet:
        network = PSPNet(self.config.network)
        if self.config.pretrained:
            path = data.parent / self.config.pretrained
            load_pretrained(network.backbone, read_checkpoint(path).state)
        if self.config.start_from:
            state.load_start(network, Path(self.config.start_from))
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

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

    def _loader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        self.training_set.epoch = self.epoch
        workers = self.config.loading.workers
        return DataLoader(
            self.training_set,
            self.config.schedule.batch,
            shuffle=True,
            generator=torch.Generator().manual_seed(self._epoch_seed()),
            num_workers=workers,
            drop_last=True,
            prefetch_factor=4 if workers else None,
            pin_memory=self.device.type == "cuda",
        )

    def _epoch_seed(self) -> int:
        return self.config.seed * 1_000_003 + self.epoch

    # --- one epoch --------------------------------------------------------------------------

    def _set_mode(self) -> None:
        """Train the heads, and the backbone's free blocks once they thaw."""
        network, schedule = self.network, self.config.schedule
        network.train()
        # Running statistics of ImageNet stay: a few crops a step would only blur them.
        freeze_batch_norm(network.backbone)
        network.backbone.requires_grad_(False)
        if self.epoch >= schedule.frozen_epochs:
            for block in network.backbone.trainable_blocks():
                block.requires_grad_(True)
                if schedule.train_norms:
                    block.train()

    def _set_rate(self, step: int) -> None:
        """base · (1 − progress)^power, progress over the whole run (Zhao et al., section 5.1)."""
        share = (self.epoch + step / self.steps) / self.config.schedule.epochs
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_rate"] * (1 - share) ** self.config.schedule.power

    def _batch_loss(self, image: Tensor, mask: Tensor) -> Tensor:
        schedule, align = self.config.schedule, self.network.config.align_corners
        image = image.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        mask = mask.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            maps = self.network(self.config.input.normalise(image), general=False)
        how = (self.weights, schedule.hard_share, align, schedule.loss_step)
        loss = parse_loss(maps.logits, mask, *how)
        if maps.aux_logits is not None:
            loss = loss + schedule.aux_weight * parse_loss(maps.aux_logits, mask, *how)
        return loss

    def _update(self) -> None:
        if self.config.schedule.clip_norm:
            parameters = self.network.parameters()
            nn.utils.clip_grad_norm_(parameters, self.config.schedule.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _train_epoch(self, progress: Progress) -> float:
        schedule = self.config.schedule
        torch.manual_seed(self._epoch_seed())  # dropout draws from torch's own generator
        self._set_mode()
        total = 0.0
        progress.begin_epoch()
        for step, (image, mask) in enumerate(self._loader()):
            # The last group of an epoch may have fewer steps than `accumulate`.
            first = step - step % schedule.accumulate
            group = min(schedule.accumulate, self.steps - first)
            self._set_rate(first)  # of a group as of one large batch
            loss = self._batch_loss(image, mask)
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"The loss is {value} in epoch {self.epoch + 1}: lower schedule.head_rate or "
                    "schedule.backbone_rate, or set schedule.clip_norm."
                )
            (loss / group).backward()  # type: ignore[no-untyped-call]
            if step - first + 1 == group:
                self._update()
            total += value
            progress.step(schedule.batch, total / (step + 1))
        progress.end_training()
        return total / self.steps

    # --- the run ----------------------------------------------------------------------------

    def evaluate(self) -> tuple[Confusion, list[Prediction]]:
        """Confusion over the val parts, and the predictions that the contact sheet shows.

        Raises:
            DatasetError: nothing is labelled in them, so there is no best epoch.
        """
        rule = self.config.input
        confusion, shown = validate(self.network, rule, self.val, self.device, self.bf16)
        if not confusion.counts.any():
            raise DatasetError(f"no pixel of the val parts {self.config.val} is labelled")
        return confusion, shown

    def _finish_epoch(self, loss: float) -> dict[str, Any]:
        """Evaluate where it is due; the log's row without its times."""
        schedule = self.config.schedule
        row: dict[str, Any] = {"epoch": self.epoch, "loss": round(loss, 4)}
        row["rate"] = float(f"{self.optimiser.param_groups[0]['lr']:.3g}")
        if self.epoch % schedule.val_every == 0 or self.epoch == schedule.epochs:
            confusion, shown = self.evaluate()
            row["miou"] = round(confusion.miou, 4)
            row["pixel_accuracy"] = round(confusion.pixel_accuracy, 4)
            if confusion.miou > self.best:
                self.best = confusion.miou
                keep_best(self.run, self.config, self.network, self.epoch, confusion, shown)
        return row

    def _state(self) -> dict[str, Any]:
        return {
            "config": state.plain(self.config.to_json()),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "history": self.history,
        }

    def epochs(self) -> Iterator[dict[str, Any]]:
        """Train to the end; yields the log's row after each epoch.

        Raises:
            TrainingDiverged: the loss is no number any more.
        """
        schedule = self.config.schedule
        images = self.steps * schedule.batch
        with Progress(schedule.epochs, images, self.epoch) as progress:
            while self.epoch < schedule.epochs:
                loss = self._train_epoch(progress)
                self.epoch += 1
                row = self._finish_epoch(loss) | progress.end_epoch()
                self.history.append(row)
                state.save_log(self.run, self.history)
                draw_history(self.run, self.history)
                # Last: a kill before it repeats the epoch and writes the rest anew, also the last row.
                state.save_checkpoint(self.run, self._state())
                yield row


def _rendered(count: int) -> list[tuple[Rgb, ClassMap]]:
    from segmentation.scenes import render

    scenes = (render(100_000 + seed) for seed in range(count))
    return [(scene.image, scene.mask) for scene in scenes]
