"""A run's folder: what is written there so that a killed run goes on, and never half a file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from segmentation.checkpoints.reading import read_checkpoint
from segmentation.errors import CheckpointError, ConfigError
from segmentation.pspnet import PSPNet

CHECKPOINT, BEST, FIGURES, LOG = "checkpoint.pt", "best.safetensors", "best.json", "log.csv"
FIELDS = (
    "epoch",
    "loss",
    "miou",
    "pixel_accuracy",
    "rate",
    "images_per_s",
    "seconds",
    "remaining_s",
)


def written(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path` and move it there at once: a kill leaves the old one whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def save_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Everything a run needs to go on."""
    written(run / CHECKPOINT, lambda path: torch.save(state, path))


def load_checkpoint(run: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote; None when the run has not finished an epoch.

    Args:
        config: settings of the run that is to go on.

    Raises:
        ConfigError: the run began with other settings; the message names them.
        CheckpointError: the file cannot be read.
    """
    path = run / CHECKPOINT
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch and pickle raise a dozen kinds for a broken file
        raise CheckpointError(
            f"{path} cannot be read ({error}); delete it to begin the run anew"
        ) from error
    changed = differences(state.get("config", {}), plain(config))
    if changed:
        raise ConfigError(
            f"{run} began with other settings: {', '.join(changed)}. "
            "Set them back, or take another folder for --run."
        )
    return state


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON would give them back: lists for tuples."""
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found


def differences(old: dict[str, Any], new: dict[str, Any], where: str = "") -> list[str]:
    """Dotted names of settings that differ, with both values. `loading` may differ."""
    found = []
    for name in sorted({*old, *new} - {"loading"}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{where}{name}.")
        elif before != after:
            found.append(f"{where}{name} was {before!r}, is {after!r}")
    return found


def save_log(run: Path, history: list[dict[str, Any]]) -> None:
    """One row of `log.csv` for each epoch; figures of val are empty where it was not looked at."""

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(history)

    written(run / LOG, write)


def save_best(run: Path, network: PSPNet, figures: dict[str, Any]) -> None:
    """Weights of the best epoch so far as float32 safetensors, and what is known of them."""
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    written(run / BEST, lambda path: save_file(state, path))
    written(run / FIGURES, lambda path: path.write_text(json.dumps(figures, indent=1)))


def load_best(run: Path) -> dict[str, Tensor]:
    """Weights of a run's best epoch; CheckpointError when there are none."""
    return read_checkpoint(run / BEST).state


def load_last(run: Path) -> dict[str, Tensor]:
    """Weights after a run's last epoch; CheckpointError when there are none."""
    try:
        found: dict[str, Tensor] = torch.load(
            run / CHECKPOINT, weights_only=True, map_location="cpu"
        )["network"]
    except Exception as error:  # see `load_checkpoint`
        raise CheckpointError(f"{run / CHECKPOINT} cannot be read ({error})") from error
    return found


def load_start(network: PSPNet, path: Path) -> tuple[int, int]:
    """Take over the weights of a whole network where names and shapes agree.

    Returns how many tensors were taken, and how many of the network's found none.

    Raises:
        CheckpointError: not a file of weights.
        ConfigError: nothing in it fits.
    """
    own = network.state_dict()
    fitting: dict[str, Tensor] = {
        key: value.to(own[key].dtype)
        for key, value in read_checkpoint(path).state.items()
        if key in own and own[key].shape == value.shape
    }
    if not fitting:
        raise ConfigError(f"start_from: nothing in {path} fits this network")
    network.load_state_dict(fitting, strict=False)
    return len(fitting), len(own) - len(fitting)
