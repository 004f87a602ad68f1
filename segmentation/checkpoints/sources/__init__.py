"""The code that published checkpoints came from, run as it is, to compare with. Never a dependency.

Each source is somebody else's program with module names such as `model` and `utils`, so a process opens
one source only. They expect a CUDA device in places; on a machine without one `.cuda()` stays put.
"""

from __future__ import annotations

import collections
import collections.abc
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segmentation.errors import CheckpointError
from segmentation.inference import InferenceRule
from segmentation.pspnet import NetworkConfig


class Runner(NamedTuple):
    """A source's network with weights, ready for photographs.

    Attributes:
        classifier: the last convolution, whose outputs are the logits at the output stride.
        mask: a photograph's class map at its own size, (H, W), by the source's own reading, resizing,
            network and averaging.
    """

    classifier: nn.Conv2d
    mask: Callable[[Path], NDArray[np.integer[Any]]]


class Source:
    """One code base.

    Args:
        folder: where it is checked out; None where it is installed as a package.
    """

    layout: str
    package: str | None = None
    """Name to import where it is a package."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the code importable; CheckpointError says what is missing."""
        if self.folder is not None:
            if not self.folder.is_dir():
                raise CheckpointError(f"{self.folder} is no folder with {self.layout}'s code.")
            sys.path.insert(0, str(self.folder.resolve()))
        elif self.package is None:
            raise CheckpointError(f"{self.layout}'s code is no package: name its folder.")
        _stand_in_for_old_names()

    def build(self, config: NetworkConfig, labels: str) -> dict[str, nn.Module]:
        """The source's own network, random weights; by file: {"": …} or encoder and decoder."""
        raise NotImplementedError

    def classifier(self, parts: dict[str, Any]) -> nn.Conv2d:
        """The last convolution of what `build` made, whose outputs are the logits."""
        raise NotImplementedError

    def run(
        self, files: list[Path], config: NetworkConfig, labels: str, rule: InferenceRule
    ) -> Runner:
        """The source's own network with a checkpoint's weights."""
        raise NotImplementedError


def _stand_in_for_old_names() -> None:
    """What these programs of 2018 to 2023 expect of Python and of the machine."""
    for name in ("Sequence", "Mapping", "Iterable"):
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))
    if not torch.cuda.is_available():
        for kind in (torch.Tensor, nn.Module):
            kind.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]


def load(module: str) -> Any:
    """Import a module of a source; CheckpointError with pip's word for what is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CheckpointError(
            f"The source's code does not load ({error}); install benchmarks/parity/requirements.txt."
        ) from error


def source_of(layout: str, folder: Path | None) -> Source:
    """The code base of a layout."""
    from segmentation.checkpoints.sources.bubbliiiing import Bubbliiiing
    from segmentation.checkpoints.sources.csail import Csail
    from segmentation.checkpoints.sources.mmseg import Mmseg
    from segmentation.checkpoints.sources.semseg import Semseg

    known = {one.layout: one for one in (Mmseg, Semseg, Csail, Bubbliiiing)}
    return known[layout](folder)
