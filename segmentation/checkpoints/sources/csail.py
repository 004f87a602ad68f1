"""CSAILVision/semantic-segmentation-pytorch: its test program on its own test data set."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from segmentation.checkpoints.sources import Runner, Source, load
from segmentation.inference import InferenceRule
from segmentation.pspnet import NetworkConfig

_ARCHITECTURES = {
    "resnet18": ("resnet18dilated", 512),
    "resnet50": ("resnet50dilated", 2048),
    "resnet101": ("resnet101dilated", 2048),
    "mobilenet_v2": ("mobilenetv2dilated", 320),
}


class Csail(Source):
    """Runs `test.py`'s `test`."""

    layout = "csail"

    def build(self, config: NetworkConfig, labels: str) -> dict[str, nn.Module]:
        return self._networks(config, None)

    def _networks(self, config: NetworkConfig, files: list[Path] | None) -> dict[str, nn.Module]:
        architecture, width = _ARCHITECTURES[config.backbone]
        models = load("mit_semseg.models.models")
        # An architecture without weights would be downloaded; its parts are put together instead.
        kind = architecture.removesuffix("dilated")
        if kind == "mobilenetv2":
            encoder = models.MobileNetV2Dilated(models.mobilenet.mobilenetv2(), dilate_scale=8)
        else:
            backbone = getattr(models.resnet, kind)()
            encoder = models.ResnetDilated(backbone, dilate_scale=8)
        decoder = models.ModelBuilder.build_decoder(
            "ppm_deepsup",
            fc_dim=width,
            num_class=config.classes,
            weights=str(files[1]) if files else "",
            use_softmax=True,
        )
        if files:
            torch = load("torch")
            state = torch.load(files[0], map_location="cpu", weights_only=True)
            encoder.load_state_dict(state, strict=False)
        return {"encoder": encoder, "decoder": decoder}

    def classifier(self, parts: dict[str, Any]) -> nn.Conv2d:
        found: nn.Conv2d = parts["decoder"].conv_last[4]
        return found

    def run(
        self, files: list[Path], config: NetworkConfig, labels: str, rule: InferenceRule
    ) -> Runner:
        assert self.folder is not None
        with contextlib.chdir(self.folder):  # it reads its colours from ./data
            program = load("test")
        program.cfg.merge_from_file(
            os.path.join(self.folder, "config", "ade20k-resnet50dilated-ppm_deepsup.yaml")
        )
        program.cfg.DATASET.num_class = config.classes
        program.cfg.DATASET.imgSizes = tuple(short for short, _ in rule.sizes) or (450,)
        parts = self._networks(config, files)
        network = program.SegmentationModule(parts["encoder"], parts["decoder"], nn.NLLLoss())
        caught: list[Any] = []
        program.visualize_result = lambda data, found, cfg: caught.append(found)

        def mask(photo: Path) -> NDArray[np.int64]:
            with contextlib.redirect_stdout(io.StringIO()):
                data = program.TestDataset([{"fpath_img": str(photo)}], program.cfg.DATASET)
                program.test(network, [[data[0]]], 0)
            return np.asarray(caught.pop())

        return Runner(self.classifier(parts), mask)
