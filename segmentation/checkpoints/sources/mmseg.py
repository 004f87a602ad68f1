"""OpenMMLab mmsegmentation 1.x, as its wheel has it."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from segmentation.checkpoints.sources import Runner, Source, load
from segmentation.inference import InferenceRule
from segmentation.pspnet import NetworkConfig

# the configuration file whose data set, test pipeline and test mode belong to a label set
_CONFIGS = {
    "ade20k": "pspnet_r50-d8_4xb4-160k_ade20k-512x512",
    "cityscapes": "pspnet_r50-d8_4xb2-80k_cityscapes-512x1024",
    "voc": "pspnet_r50-d8_4xb4-40k_voc12aug-512x512",
    "coco_stuff": "pspnet_r50-d8_4xb4-160k_coco-stuff164k-512x512",
    "pascal_context_59": "pspnet_r50-d8_4xb4-40k_pascal-context-59-480x480",
    "pascal_context_60": "pspnet_r50-d8_4xb4-40k_pascal-context-480x480",
    "loveda": "pspnet_r50-d8_4xb4-80k_loveda-512x512",
    "potsdam": "pspnet_r50-d8_4xb4-80k_potsdam-512x512",
    "isaid": "pspnet_r50-d8_4xb4-80k_isaid-896x896",
}
_CITYSCAPES_769 = "pspnet_r50-d8_4xb2-80k_cityscapes-769x769"


class _Operators(types.ModuleType):
    def __getattr__(self, name: str) -> type[nn.Module]:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})


class Mmseg(Source):
    """Runs `mmseg.apis.inference_model`."""

    layout = "mmseg"
    package = "mmseg"

    def prepare(self) -> None:
        super().prepare()
        # mmcv-lite has no compiled operators. A few modules that PSPNet does not use import names
        # from there, so an empty stand-in lets them load.
        sys.modules.setdefault("mmcv.ops", _Operators("mmcv.ops"))

    def _config(self, config: NetworkConfig, labels: str, window_px: int) -> Any:
        mmseg, engine = load("mmseg"), load("mmengine")
        name = _CITYSCAPES_769 if window_px == 769 else _CONFIGS[labels]
        folder = Path(mmseg.__file__).parent / ".mim" / "configs" / "pspnet"
        values = engine.Config.fromfile(folder / f"{name}.py")
        model = values.model
        wide = config.backbone not in ("resnet18", "resnet34")
        # torch's synchronised batch norm trains on GPUs only, and in eval both are the same.
        model.backbone.norm_cfg = model.decode_head.norm_cfg = dict(type="BN", requires_grad=True)
        model.backbone.type = "ResNet" if config.stem is None else "ResNetV1c"
        model.backbone.depth = int(config.backbone.removeprefix("resnet"))
        model.decode_head.update(
            in_channels=2048 if wide else 512, channels=config.width, num_classes=config.classes
        )
        model.auxiliary_head.update(
            in_channels=1024 if wide else 256,
            channels=256 if wide else 64,
            num_classes=config.classes,
            norm_cfg=model.backbone.norm_cfg,
        )
        model.pretrained = None
        return values

    def build(self, config: NetworkConfig, labels: str) -> dict[str, nn.Module]:
        return {"": load("mmseg.apis").init_model(self._config(config, labels, 0), device="cpu")}

    def classifier(self, parts: dict[str, Any]) -> nn.Conv2d:
        found: nn.Conv2d = parts[""].decode_head.conv_seg
        return found

    def run(
        self, files: list[Path], config: NetworkConfig, labels: str, rule: InferenceRule
    ) -> Runner:
        apis = load("mmseg.apis")
        values = self._config(config, labels, rule.window_px)
        network = apis.init_model(values, str(files[0]), device="cpu")

        def mask(photo: Path) -> NDArray[np.int64]:
            found = apis.inference_model(network, str(photo)).pred_sem_seg.data
            classes: NDArray[np.int64] = found[0].cpu().numpy()
            return classes

        return Runner(self.classifier({"": network}), mask)
