"""hszhao/semseg: its test program, from reading the photograph to the grey class map it writes."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from segmentation.checkpoints.rules import IMAGENET_MEAN, IMAGENET_STD
from segmentation.checkpoints.sources import Runner, Source, load
from segmentation.inference import InferenceRule
from segmentation.pspnet import NetworkConfig

_BASE_SIZES = {"cityscapes": 2048}


class Semseg(Source):
    """Runs `tool/test.py`'s `test`."""

    layout = "semseg"

    def build(self, config: NetworkConfig, labels: str) -> dict[str, nn.Module]:
        depth = int(config.backbone.removeprefix("resnet"))
        model = load("model.pspnet")
        return {"": model.PSPNet(layers=depth, classes=config.classes, pretrained=False)}

    def _program(self) -> Any:
        load("util.dataset")
        assert self.folder is not None
        spec = importlib.util.spec_from_file_location(
            "semseg_test", self.folder / "tool" / "test.py"
        )
        assert spec is not None and spec.loader is not None
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        program.logger = logging.getLogger("semseg")  # type: ignore[attr-defined]
        return program

    def classifier(self, parts: dict[str, Any]) -> nn.Conv2d:
        found: nn.Conv2d = parts[""].cls[4]
        return found

    def run(
        self, files: list[Path], config: NetworkConfig, labels: str, rule: InferenceRule
    ) -> Runner:
        program = self._program()
        network = self.build(config, labels)[""].eval()
        state = torch.load(files[0], map_location="cpu", weights_only=True)["state_dict"]
        # As its `main` does, through DataParallel's names, and not strictly: `aux` may be absent.
        nn.DataParallel(network).load_state_dict(state, strict=False)
        base = _BASE_SIZES.get(labels, 512)

        def mask(photo: Path) -> NDArray[np.uint8]:
            with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
                listing = Path(name) / "list.txt"
                listing.write_text(f"{photo.name}\n")
                data = program.dataset.SemData(
                    split="test",
                    data_root=str(photo.parent.resolve()),
                    data_list=str(listing),
                    transform=program.transform.Compose([program.transform.ToTensor()]),
                )
                loader = torch.utils.data.DataLoader(data, batch_size=1)
                grey = Path(name) / "gray"
                program.test(
                    loader,
                    data.data_list,
                    network,
                    config.classes,
                    list(IMAGENET_MEAN),
                    list(IMAGENET_STD),
                    base,
                    rule.window_px,
                    rule.window_px,
                    [1.0],
                    str(grey),
                    str(Path(name) / "color"),
                    [0] * 768,  # colours of a picture nobody looks at
                )
                return np.asarray(Image.open(grey / f"{photo.stem}.png"))

        return Runner(self.classifier({"": network}), mask)
