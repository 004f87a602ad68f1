"""What a training run is: one TOML file, read into these classes."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segmentation.datasets import LAYOUTS, Augmentation
from segmentation.errors import ConfigError
from segmentation.labels import LABEL_SETS, LabelSet, load_label_set
from segmentation.preprocess import InputRule
from segmentation.pspnet import NetworkConfig
from segmentation.training.settings import read_settings

PRECISIONS = ("auto", "bf16", "float32")


@dataclass(frozen=True)
class Schedule:
    """Optimisation settings.

    Attributes:
        epochs: passes over the train parts.
        frozen_epochs: of these, how many leave the backbone as it is.
        train_norms: the backbone's batch norms go on learning their statistics once it thaws; for
            batches of 8 crops and more.
        batch: crops per step; accumulate: steps per update of the weights.
        head_rate, backbone_rate: learning rates at the start of the polynomial decay.
        momentum, weight_decay: of SGD.
        power: exponent of the decay (PSPNet: 0.9).
        clip_norm: longest gradient that is not shortened; 0 for any length.
        aux_weight: weight of the auxiliary loss (PSPNet: 0.4).
        class_weight_limit: rare classes weigh more by the inverse square root of their share, at
            most this many times as much as the mean class; 0 weighs all alike.
        hard_share: share of the labelled pixels with the highest loss that count (online hard
            example mining); 1.0 counts all.
        loss_step: the loss looks at every n-th row and column of the crop. 2 costs a quarter of 1
            and has nearly the same gradients.
        val_every: epochs between evaluations on the val parts.
        precision: "bf16", "float32", or "auto" for bf16 where the device computes it natively.
    """

    epochs: int = 12
    frozen_epochs: int = 12
    train_norms: bool = False
    batch: int = 16
    accumulate: int = 1
    head_rate: float = 0.05
    backbone_rate: float = 0.005
    momentum: float = 0.9
    weight_decay: float = 1e-4
    power: float = 0.9
    clip_norm: float = 10.0
    aux_weight: float = 0.4
    class_weight_limit: float = 6.0
    hard_share: float = 1.0
    loss_step: int = 2
    val_every: int = 1
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "loss_step", "val_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1")
        for name in ("frozen_epochs", "head_rate", "backbone_rate", "momentum", "weight_decay"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is not negative")
        if not 0 < self.hard_share <= 1:
            raise ConfigError("hard_share is a share above 0, at most 1")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class Loading:
    """How pictures reach the network; changes nothing in the result.

    Attributes:
        in_memory: keep all pictures decoded: 1 GB for every 1,500 of 480 × 360. Otherwise each one
            is read anew in each epoch.
        workers: processes that read and augment.
    """

    in_memory: bool = True
    workers: int = 1

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError("workers is not negative")


@dataclass(frozen=True)
class TrainConfig:
    """One training run, as a TOML file below `segmentation/configs/` describes it.

    Attributes:
        label_set: name in `segmentation.labels.LABEL_SETS`, or the path of a `.json` like those.
        network: shape of the network; the file leaves out `classes`, which the label set gives.
        train, val: splits of the data set; for `format = "folder"`, folders below the data folder.
        format: name in `segmentation.datasets.LAYOUTS`.
        pretrained: classification weights of the backbone with torchvision's keys, relative to the
            data folder's parent; safetensors or a torch file. None starts from random weights.
        start_from: whole network (such as an earlier run's) to start from; layers of another shape,
            such as a classifier of other classes, are left out.
        rendered: how many pictures of `segmentation.scenes` join the train parts.
        seed: of everything random.
        input: size rule and normalisation, for val and later for prediction.
    """

    label_set: str
    network: NetworkConfig
    train: list[str]
    val: list[str]
    format: str = "folder"
    pretrained: str | None = None
    start_from: str | None = None
    rendered: int = 0
    seed: int = 0
    input: InputRule = field(default_factory=InputRule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    schedule: Schedule = field(default_factory=Schedule)
    loading: Loading = field(default_factory=Loading)

    def __post_init__(self) -> None:
        if self.format not in LAYOUTS:
            raise ConfigError(f"format is one of {', '.join(LAYOUTS)}, not {self.format!r}")
        if not self.train and not self.rendered:
            raise ConfigError("train names no split, and rendered is 0: nothing to learn from")
        if not self.val:
            raise ConfigError("val names no split: nothing to choose the best epoch by")
        if self.rendered and self.label_set != "starter":
            raise ConfigError("rendered pictures have the classes of the starter label set")
        if self.network.classes != len(self.labels):
            raise ConfigError(f"the network has {self.network.classes} classes, the label set not")

    @property
    def labels(self) -> LabelSet:
        """The label set; ConfigError when there is none of that name."""
        return label_set(self.label_set)

    def to_json(self) -> dict[str, Any]:
        """Plain values, by which a resumed run is compared with the one that began."""
        return asdict(self)


def label_set(name: str) -> LabelSet:
    """The label set of a name, or in a `.json` file; ConfigError when there is none."""
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    if not name.endswith(".json"):
        known = ", ".join(LABEL_SETS)
        raise ConfigError(f"label_set {name!r} is unknown; known are {known}, or a .json file")
    try:
        return load_label_set(Path(name))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"label_set: {name} is no label set: {error}") from error


def _with_classes(values: dict[str, Any]) -> dict[str, Any]:
    """The file's values with the number of classes, which the label set decides."""
    name, network = values.get("label_set"), values.get("network")
    if not isinstance(name, str) or not isinstance(network, dict):
        return values  # refused by name when they are read
    if "classes" in network:
        raise ConfigError("network.classes is not set here: label_set decides it")
    return {**values, "network": {**network, "classes": len(label_set(name))}}


def load_config(path: Path) -> TrainConfig:
    """Read a TOML file; ConfigError names the setting that is unknown or of the wrong kind."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return read_settings(TrainConfig, _with_classes(values))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
