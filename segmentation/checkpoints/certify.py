"""Parity: the source's own program and this project, on the same photographs, number by number."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from segmentation.checkpoints.sources import Runner, source_of
from segmentation.decode import decode
from segmentation.errors import CheckpointError
from segmentation.inference import InferenceRule
from segmentation.manifest import Manifest
from segmentation.predict import Parser
from segmentation.pspnet import NetworkConfig

MAX_LOGIT_DELTA, MIN_AGREEMENT = 1e-4, 0.9999


@dataclass(frozen=True)
class Parity:
    """How closely this project answers like the source.

    Attributes:
        images: photographs compared.
        passes: pictures that went through each network: windows, mirror images and sizes counted.
        max_logit_delta: largest difference of any logit at the output stride.
        logit_spread: standard deviation of the source's logits, to judge the difference by.
        agreement: share of pixels of the final class maps, at the photographs' own size, that agree.
        source_s, own_s: seconds that each took in all, float32.
    """

    images: int
    passes: int
    max_logit_delta: float
    logit_spread: float
    agreement: float
    source_s: float
    own_s: float

    @property
    def holds(self) -> bool:
        """Whether both limits are kept."""
        return self.max_logit_delta <= MAX_LOGIT_DELTA and self.agreement >= MIN_AGREEMENT

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the verdict."""
        return {**asdict(self), "holds": self.holds}


@contextmanager
def outputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module answers while the context lasts, one picture at a time."""
    caught: list[Tensor] = []

    def catch(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        caught.extend(output.detach().float().cpu())

    handle = module.register_forward_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()


class _Tally:
    def __init__(self) -> None:
        self.passes, self.delta, self.pixels, self.same = 0, 0.0, 0, 0
        self.values: list[float] = []

    def add_logits(self, theirs: list[Tensor], own: list[Tensor], photo: Path) -> None:
        shapes = [[tuple(one.shape) for one in some] for some in (theirs, own)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{photo.name}: the networks were asked differently: {shapes[0][:3]} there, "
                f"{shapes[1][:3]} here."
            )
        for one, other in zip(theirs, own, strict=True):
            self.delta = max(self.delta, float((one - other).abs().max()))
            self.values.append(float(one.std()))
        self.passes += len(theirs)

    def add_masks(self, theirs: np.ndarray, own: np.ndarray) -> None:
        self.pixels += theirs.size
        self.same += int((theirs == own).sum())


def compare(runner: Runner, parser: Parser, photos: list[Path]) -> Parity:
    """Both programs over the photographs.

    Args:
        parser: loaded with `exact=True`.
    """
    tally, seconds = _Tally(), [0.0, 0.0]
    for photo in tqdm(photos, "comparing", unit="image", mininterval=2):
        started = time.perf_counter()
        with outputs(runner.classifier) as theirs, torch.inference_mode():
            expected = runner.mask(photo)
        middle = time.perf_counter()
        image = decode(photo)
        height, width = image.shape[:2]
        with outputs(parser.network.classify) as own:
            (parsed,) = parser.infer([parser.prepare(image, (height, width))])
        seconds[0] += middle - started
        seconds[1] += time.perf_counter() - middle
        tally.add_logits(theirs, own, photo)
        tally.add_masks(expected, parsed.mask)
    return Parity(
        len(photos),
        tally.passes,
        tally.delta,
        float(np.mean(tally.values)),
        tally.same / tally.pixels,
        round(seconds[0], 1),
        round(seconds[1], 1),
    )


def photographs(folder: Path, most: int = 20) -> list[Path]:
    """The first JPEGs below a folder; CheckpointError when there is none."""
    found = sorted(folder.rglob("*.jpg"))[:most]
    if not found:
        raise CheckpointError(f"There is no .jpg below {folder} to compare on.")
    return found


def certify(
    manifest_path: Path, files: list[Path], photos: list[Path], folder: Path | None = None
) -> Parity:
    """Compare imported weights with the code they came from and write the result into the manifest.

    Args:
        files: the checkpoint that was imported (CSAIL: encoder, decoder).
        photos: what to compare on.
        folder: where the source's code is checked out; None where it is installed as a package.

    Raises:
        CheckpointError: the source's code is not there; the manifest then says that none was made.
    """
    manifest = Manifest.load(manifest_path)
    source = source_of(manifest.source["layout"], folder)
    config = NetworkConfig.from_json(manifest.network)
    rule = InferenceRule.from_json(manifest.inference)
    try:
        source.prepare()
        runner = source.run(files, config, manifest.labels.name, rule)
    except CheckpointError as error:
        note_parity(manifest_path, {"made": False, "why": str(error)})
        raise
    parity = compare(runner, Parser.load(manifest_path, "cpu", exact=True), photos)
    note_parity(manifest_path, {"made": True, **parity.to_json()})
    return parity


def note_parity(manifest_path: Path, parity: dict[str, Any]) -> None:
    """Put a parity report into a manifest file."""
    values = json.loads(manifest_path.read_text(encoding="utf-8"))
    values["source"]["parity"] = parity
    text = json.dumps(values, indent=1, ensure_ascii=False)
    manifest_path.write_text(text + "\n", encoding="utf-8")
