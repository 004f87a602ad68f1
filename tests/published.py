"""Checkpoints in the layouts of published PSPNets, from tables of their keys. Random, always the same.

The tables are written down from the publishers' code, apart from `segmentation.checkpoints.layouts`, so
that a mistake there cannot hide here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmentation.labels import LABEL_SETS
from segmentation.scenes import render

Table = Iterator[tuple[str, tuple[int, ...]]]

_NORM = ("weight", "bias", "running_mean", "running_var")


def conv(name: str, outputs: int, inputs: int, kernel: int = 1) -> Table:
    yield f"{name}.weight", (outputs, inputs, kernel, kernel)


def norm(name: str, width: int) -> Table:
    for part in _NORM:
        yield f"{name}.{part}", (width,)
    yield f"{name}.num_batches_tracked", ()


def classifier(name: str, classes: int, inputs: int) -> Table:
    yield from conv(name, classes, inputs)
    yield f"{name}.bias", (classes,)


def resnet18(prefix: str, inputs: int) -> Table:
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"{prefix}layer{stage}.{block}"
            yield from conv(f"{name}.conv1", width, inputs, 3)
            yield from norm(f"{name}.bn1", width)
            yield from conv(f"{name}.conv2", width, width, 3)
            yield from norm(f"{name}.bn2", width)
            if inputs != width:
                yield from conv(f"{name}.downsample.0", width, inputs)
                yield from norm(f"{name}.downsample.1", width)
            inputs = width


def resnet50(prefix: str, inputs: int) -> Table:
    depths = {64: 3, 128: 4, 256: 6, 512: 3}
    for stage, (width, depth) in enumerate(depths.items(), start=1):
        for block in range(depth):
            name = f"{prefix}layer{stage}.{block}"
            yield from conv(f"{name}.conv1", width, inputs)
            yield from norm(f"{name}.bn1", width)
            yield from conv(f"{name}.conv2", width, width, 3)
            yield from norm(f"{name}.bn2", width)
            yield from conv(f"{name}.conv3", 4 * width, width)
            yield from norm(f"{name}.bn3", 4 * width)
            if block == 0:
                yield from conv(f"{name}.downsample.0", 4 * width, inputs)
                yield from norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width


def mobilenet(prefix: str) -> Table:
    yield from conv(f"{prefix}features.0.0", 32, 3, 3)
    yield from norm(f"{prefix}features.0.1", 32)
    inputs, place = 32, 1
    settings = (
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    )
    for expand, width, count in settings:
        for _ in range(count):
            name, inner = f"{prefix}features.{place}.conv", inputs * expand
            at = 0
            if expand > 1:
                yield from conv(f"{name}.0", inner, inputs)
                yield from norm(f"{name}.1", inner)
                at = 3
            yield from conv(f"{name}.{at}", inner, 1, 3)
            yield from norm(f"{name}.{at + 1}", inner)
            yield from conv(f"{name}.{at + 3}", width, inner)
            yield from norm(f"{name}.{at + 4}", width)
            inputs, place = width, place + 1


def mmseg(classes: int, plain: bool = False) -> Table:
    if plain:
        yield from conv("backbone.conv1", 64, 3, 7)
        yield from norm("backbone.bn1", 64)
    else:
        for place, (width, inputs) in {0: (32, 3), 3: (32, 32), 6: (64, 32)}.items():
            yield from conv(f"backbone.stem.{place}", width, inputs, 3)
            yield from norm(f"backbone.stem.{place + 1}", width)
    yield from resnet18("backbone.", 64)
    for level in range(4):
        yield from conv(f"decode_head.psp_modules.{level}.1.conv", 128, 512)
        yield from norm(f"decode_head.psp_modules.{level}.1.bn", 128)
    yield from conv("decode_head.bottleneck.conv", 128, 1024, 3)
    yield from norm("decode_head.bottleneck.bn", 128)
    yield from classifier("decode_head.conv_seg", classes, 128)
    yield from conv("auxiliary_head.convs.0.conv", 64, 256, 3)
    yield from norm("auxiliary_head.convs.0.bn", 64)
    yield from classifier("auxiliary_head.conv_seg", classes, 64)


def semseg(classes: int) -> Table:
    for place, (width, inputs) in {0: (64, 3), 3: (64, 64), 6: (128, 64)}.items():
        yield from conv(f"layer0.{place}", width, inputs, 3)
        yield from norm(f"layer0.{place + 1}", width)
    yield from resnet50("", 128)
    for level in range(4):
        yield from conv(f"ppm.features.{level}.1", 512, 2048)
        yield from norm(f"ppm.features.{level}.2", 512)
    yield from conv("cls.0", 512, 4096, 3)
    yield from norm("cls.1", 512)
    yield from classifier("cls.4", classes, 512)
    yield from conv("aux.0", 256, 1024, 3)
    yield from norm("aux.1", 256)
    yield from classifier("aux.4", classes, 256)


def csail_encoder() -> Table:
    for number, (width, inputs) in {1: (64, 3), 2: (64, 64), 3: (128, 64)}.items():
        yield from conv(f"conv{number}", width, inputs, 3)
        yield from norm(f"bn{number}", width)
        yield f"bn{number}._tmp_running_mean", (width,)  # its batch norm stores these as well
        yield f"bn{number}._tmp_running_var", (width,)
        yield f"bn{number}._running_iter", (1,)
    yield from resnet18("", 128)


def csail_decoder(classes: int) -> Table:
    for level in range(4):
        yield from conv(f"ppm.{level}.1", 512, 512)
        yield from norm(f"ppm.{level}.2", 512)
    yield from conv("cbr_deepsup.0", 128, 256, 3)
    yield from norm("cbr_deepsup.1", 128)
    yield from conv("conv_last.0", 512, 2560, 3)
    yield from norm("conv_last.1", 512)
    yield from classifier("conv_last.4", classes, 512)
    yield from classifier("conv_last_deepsup", classes, 128)


def bubbliiiing(classes: int) -> Table:
    yield from mobilenet("backbone.")
    for level in range(4):
        yield from conv(f"master_branch.0.stages.{level}.1", 80, 320)
        yield from norm(f"master_branch.0.stages.{level}.2", 80)
    yield from conv("master_branch.0.bottleneck.0", 80, 640, 3)
    yield from norm("master_branch.0.bottleneck.1", 80)
    yield from classifier("master_branch.1", classes, 80)
    yield from conv("auxiliary_branch.0", 40, 96, 3)
    yield from norm("auxiliary_branch.1", 40)
    yield from classifier("auxiliary_branch.4", classes, 40)


def filled(table: Table) -> dict[str, Tensor]:
    """Weights for a table: a tensor depends on its own key and shape only."""
    state = {}
    for key, shape in table:
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(1)
            continue
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        part = key.rsplit(".", 1)[1]
        if len(shape) == 4:
            values = rng.standard_normal(shape, np.float32) * (2 / np.prod(shape[1:])) ** 0.5
        elif part == "weight":
            # Small in the last norm of a residual block, lest rounding grows with depth.
            low, high = (
                (0.1, 0.4) if ".bn2." in key or ".bn3." in key or ".conv." in key else (0.5, 1.5)
            )
            values = rng.uniform(low, high, shape)
        elif part == "running_var":
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape) * 0.2
        state[key] = torch.from_numpy(np.asarray(values, np.float32))
    return state


LABELS = {
    "mmseg": "ade20k",
    "mmseg-b": "potsdam",
    "semseg": "voc",
    "csail": "ade20k",
    "bubbliiiing": "voc",
}
"""Each published layout (and mmsegmentation's plain stem), with a label set."""


SMALLER = {
    "semseg": {"window_px": 233, "stride_px": 156},
    "csail": {"sizes": [[96, 1000], [128, 1000], [160, 1000]]},
}
"""Inference rules of the published kind, but quick."""


def scene(layout: str) -> NDArray[np.uint8]:
    """The picture that a layout's network is asked about; a flat one where windows slide."""
    image = render(5, size=(96, 72)).image
    return image[16:56] if layout == "semseg" else image


def shrink(layout: str, manifest: Path) -> None:
    """Make an import quicker to ask, in the same way for the publisher's program and for ours."""
    values = json.loads(manifest.read_text())
    values["inference"].update(SMALLER.get(layout, {}))
    if layout == "semseg":
        values["input"]["pad_px"] = SMALLER[layout]["window_px"]
    manifest.write_text(json.dumps(values))


def write(layout: str, folder: Path) -> list[Path]:
    """The files of a layout, as its publisher's training program writes them."""
    labels = LABEL_SETS[LABELS[layout]]
    classes = len(labels)
    contents: dict[str, object]
    if layout.startswith("mmseg"):
        state = filled(mmseg(classes, plain=layout == "mmseg-b"))
        contents = {
            "mmseg": {"meta": {"CLASSES": labels.classes, "PALETTE": []}, "state_dict": state}
        }
    elif layout == "semseg":
        state = {f"module.{key}": value for key, value in filled(semseg(classes)).items()}
        contents = {"semseg": {"epoch": 100, "state_dict": state}}
    elif layout == "csail":
        contents = {"encoder": filled(csail_encoder()), "decoder": filled(csail_decoder(classes))}
    else:
        contents = {"bubbliiiing": filled(bubbliiiing(classes))}
    files = []
    for name, content in contents.items():
        files.append(folder / f"{name}.pth")
        # Those of 2019 and 2020 are of the format before torch 1.6.
        torch.save(content, files[-1], _use_new_zipfile_serialization=layout != "semseg")
    return files
