"""Record what the publishers' programs answer for the tests' checkpoints, into tests/data/published.

    python benchmarks/parity/record.py mmseg
    python benchmarks/parity/record.py semseg --source /tmp/semseg

`tests/test_checkpoints.py` then needs none of those programs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from segmentation.checkpoints import import_checkpoint
from segmentation.checkpoints.certify import outputs
from segmentation.checkpoints.sources import source_of
from segmentation.inference import InferenceRule
from segmentation.manifest import Manifest
from segmentation.pspnet import NetworkConfig
from tests import published

TARGET = Path(published.__file__).parent / "data" / "published"


def record(name: str, folder: Path | None) -> None:
    """One layout: the class map as a PNG and some logits of the first pass."""
    layout, labels = name.removesuffix("-b"), published.LABELS[name]
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        files = published.write(name, work)
        path = import_checkpoint(
            files[0],
            decoder=files[1] if len(files) > 1 else None,
            labels=labels,
            target_dir=work / "imported",
        )
        published.shrink(name, path)
        manifest = Manifest.load(path)
        config = NetworkConfig.from_json(manifest.network)
        rule = InferenceRule.from_json(manifest.inference)
        source = source_of(layout, folder)
        source.prepare()
        photo = work / "scene.png"
        Image.fromarray(published.scene(name)).save(photo)
        runner = source.run(files, config, labels, rule)
        with torch.inference_mode(), outputs(runner.classifier) as logits:
            mask = runner.mask(photo)
    Image.fromarray(mask.astype(np.uint8)).save(TARGET / f"{name}.png")
    values = [logits[0].flatten()[:: max(1, logits[0].numel() // 12)][:12].tolist()]
    recorded = {"passes": len(logits), "shape": list(logits[0].shape), "logits": values[0]}
    (TARGET / f"{name}.json").write_text(json.dumps(recorded, indent=1) + "\n")
    print(name, len(np.unique(mask)), "classes,", len(logits), "passes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layout", choices=sorted(published.LABELS))
    parser.add_argument("--source", type=Path)
    args = parser.parse_args()
    record(args.layout, args.source)
