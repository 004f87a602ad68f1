"""bubbliiiing/pspnet-pytorch: its predictor, from the opened photograph to the painted class map."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from segmentation.checkpoints.sources import Runner, Source, load
from segmentation.inference import InferenceRule
from segmentation.pspnet import NetworkConfig

_BACKBONES = {"resnet50": "resnet50", "mobilenet_v2": "mobilenet"}


class Bubbliiiing(Source):
    """Runs `pspnet.PSPNet.detect_image`."""

    layout = "bubbliiiing"

    def build(self, config: NetworkConfig, labels: str) -> dict[str, nn.Module]:
        networks = load("nets.pspnet")
        network = networks.PSPNet(
            config.classes, config.output_stride, _BACKBONES[config.backbone], pretrained=False
        )
        return {"": network}

    def classifier(self, parts: dict[str, Any]) -> nn.Conv2d:
        found: nn.Conv2d = parts[""].master_branch[1]
        return found

    def run(
        self, files: list[Path], config: NetworkConfig, labels: str, rule: InferenceRule
    ) -> Runner:
        program = load("pspnet")
        with contextlib.redirect_stdout(io.StringIO()):
            predictor = program.PSPNet(
                model_path=str(files[0]),
                num_classes=config.classes,
                backbone=_BACKBONES[config.backbone],
                downsample_factor=config.output_stride,
                mix_type=1,  # paint the class map alone
                cuda=False,
            )
        # Painted in these colours, the red channel is the class.
        predictor.colors = [(index, 0, 0) for index in range(config.classes)]

        def mask(photo: Path) -> NDArray[np.uint8]:
            painted = predictor.detect_image(Image.open(photo))
            return np.asarray(painted)[..., 0]

        return Runner(self.classifier({"": predictor.net}), mask)
