"""Does an imported checkpoint answer like the program it came from? One source, one network, a table row.

    python benchmarks/parity/run.py mmseg r50 --photos ../shared/data/photos
    python benchmarks/parity/run.py semseg r50 --source /tmp/semseg --photos ../shared/data/photos

The source's own network gets random weights and the batch-norm statistics of real photographs, is saved
in its own layout and imported here; then both programs read the same files, each in its own way.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from segmentation.checkpoints import ImportOptions, import_checkpoint
from segmentation.checkpoints.certify import certify, outputs, photographs
from segmentation.checkpoints.sources import Source, source_of
from segmentation.errors import SegmentationError
from segmentation.labels import LABEL_SETS
from segmentation.manifest import Manifest
from segmentation.pspnet import NetworkConfig

_BACKBONES = {
    "r18": "resnet18",
    "r50": "resnet50",
    "r50b": "resnet50",
    "r101": "resnet101",
    "mobilenet": "mobilenet_v2",
}
_CALIBRATED = 16
_SPREAD = 3.0
_LAST_NORM = re.compile(r"layer\d\.\d+\.bn[23]|features\.\d+\.conv\.[47]$")
_SIDE = 233  # 8k + 1, as hszhao/semseg wants it


def asked_for(layout: str, network: str, labels: str, stride: int | None) -> NetworkConfig:
    """The shape that the source builds; afterwards the import must find the same from the keys."""
    narrow = layout == "mmseg" and network == "r18"
    return NetworkConfig(
        _BACKBONES[network],
        classes=len(LABEL_SETS[labels]),
        output_stride=stride or (16 if layout == "bubbliiiing" else 8),
        width=128 if narrow else 512,
        stem=None if network.endswith("b") else (64, 64, 128),
    )


def _pictures(photos: list[Path]) -> Tensor:
    rows = [
        np.asarray(Image.open(path).convert("RGB").resize((_SIDE, _SIDE)))
        for path in photos[:_CALIBRATED]
    ]
    pixels = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float()
    return (pixels - 120) / 60


def _ask(layout: str, parts: dict[str, nn.Module], pixels: Tensor) -> None:
    if layout == "csail":
        maps = parts["encoder"](pixels, return_feature_maps=True)
        parts["decoder"](maps, segSize=(8, 8))
    else:
        parts[""](pixels)


def randomise(source: Source, parts: dict[str, nn.Module], photos: list[Path], seed: int) -> None:
    """Random weights, and the running statistics that photographs give with them.

    The classifier is scaled so that logits spread as a trained network's do: standard deviation 3.
    """
    torch.manual_seed(seed)
    pixels, norms = _pictures(photos), []
    for part in parts.values():
        part.eval()
        for name, module in part.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:  # the classifiers alone have one
                    nn.init.normal_(module.weight, 0, module.in_channels**-0.5)
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                # A block's last norms are kept small, as training begins in many recipes. Otherwise
                # such a network is chaotic: rounding of the input in the seventh digit comes out
                # as a thousandth, in the source against itself too.
                low, high = (0.1, 0.4) if _LAST_NORM.search(name) else (0.5, 1.5)
                nn.init.uniform_(module.weight, low, high)
                nn.init.normal_(module.bias, 0, 0.2)
                norms.append((module, module.momentum))
                module.momentum = 1.0
                module.train()
    with torch.no_grad():
        _ask(source.layout, parts, pixels)
    for module, momentum in norms:
        module.momentum = momentum
        module.eval()
    classifier = source.classifier(parts)
    with torch.no_grad(), outputs(classifier) as logits:
        _ask(source.layout, parts, pixels)
        classifier.weight.mul_(_SPREAD / torch.stack(logits).std())
        nn.init.normal_(classifier.bias, 0, 0.5)


def save(layout: str, parts: dict[str, nn.Module], folder: Path, labels: str) -> list[Path]:
    """Files as the source's own training program writes them."""
    files = []
    for name, part in parts.items():
        content: dict[str, Any] = dict(part.state_dict())
        if layout == "mmseg":
            names = LABEL_SETS[labels].classes
            content = {"meta": {"CLASSES": names, "PALETTE": []}, "state_dict": content}
        elif layout == "semseg":
            content = {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in content.items()}}
        files.append(folder / f"{name or 'weights'}.pth")
        torch.save(content, files[-1])
    return files


def row(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One network through the whole way."""
    photos = photographs(args.photos, max(args.images, _CALIBRATED))
    source: Source = source_of(args.layout, args.source)
    source.prepare()
    config = asked_for(args.layout, args.network, args.labels, args.stride)
    parts = source.build(config, args.labels)
    randomise(source, parts, photos, args.seed)
    files = save(args.layout, parts, folder, args.labels)
    path = import_checkpoint(
        files[0],
        decoder=files[1] if len(files) > 1 else None,
        labels=args.labels,
        target_dir=folder / "imported",
        name="parity",
        options=ImportOptions(output_stride=args.stride),
    )
    found = NetworkConfig.from_json(Manifest.load(path).network)
    if (found.backbone, found.classes) != (config.backbone, config.classes):
        raise SystemExit(f"imported as {found}, built as {config}")
    parity = certify(path, files, photos[: args.images], args.source)
    said = {"layout": args.layout, "network": args.network, "labels": args.labels}
    return {**said, "stride": found.output_stride, **parity.to_json()}


def main() -> int:
    """Exit status 0 when parity holds, 1 when not, 2 when it could not be tried."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layout", choices=["mmseg", "semseg", "csail", "bubbliiiing"])
    parser.add_argument("network", choices=sorted(_BACKBONES))
    parser.add_argument("--source", type=Path, help="folder of the source, unless it is installed")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--labels", default="ade20k", choices=sorted(LABEL_SETS))
    parser.add_argument("--stride", type=int, choices=[8, 16, 32])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = row(args, Path(folder))
    except SegmentationError as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
