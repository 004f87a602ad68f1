"""What depth and input size cost: images/s, GFLOP and memory of PSPNets of stride 8, one CPU thread.

    python benchmarks/cost.py --photos ../shared/data/photos --out benchmarks/results/cost.json
    python benchmarks/cost.py --photos ../shared/data/photos --out benchmarks/results/cost-starter.json --starter

Each network runs in a process of its own, so that the peak of its memory is its own. One thread and
the processor's time are used, which other programs on the machine change little; rounds of matrix
products alternate with the network, for the ratio. Weights are random: they cost what others cost.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

DEPTHS = ("mobilenet_v2", "resnet18", "resnet34", "resnet50", "resnet101")
CASES = (
    *((backbone, 473) for backbone in DEPTHS),
    *((backbone, side) for backbone in ("mobilenet_v2", "resnet50") for side in (256, 320, 713)),
)
SHAPES: tuple[dict[str, Any], ...] = (
    {"bins": (), "output_stride": 16},
    {"bins": (1,), "output_stride": 16},
    {"bins": (1, 2, 3, 6), "output_stride": 16},
    {"bins": (1, 2, 3, 6), "output_stride": 8},
)
"""The starter network's backbone with what ablation.py varies; an auxiliary loss costs nothing here."""

KEPT = (
    "kind",
    "images_per_s",
    "gflop_per_image",
    "achieved_gflops",
    "matmul_gflops",
    "ratio_to_matmul",
)


def one(
    backbone: str, side: int, photos: Path, rounds: int, shape: dict[str, Any]
) -> dict[str, Any]:
    """One case, measured in this process."""
    import torch

    from segmentation.decode import decode
    from segmentation.pspnet import PSPNet
    from segmentation.speed import batches_of, measure, random_parser

    torch.set_num_threads(1)
    parser = random_parser(backbone, side, "cpu", **shape)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    images = map(decode, sorted(photos.glob("*.jpg"))[:rounds])
    found = measure(parser, batches_of(parser, images, 1), rounds).to_json()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with torch.device("meta"):  # the parser's own network has its batch norms folded
        parameters = sum(p.numel() for p in PSPNet(parser.network.config).parameters())
    return {
        "backbone": backbone,
        "side_px": side,
        **shape,
        "parameters_m": round(parameters / 1e6, 1),
        **{key: found[key] for key in KEPT},
        "peak_mb": round(peak_mb),
        "above_loaded_mb": round(peak_mb - before_mb),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--starter", action="store_true", help="what ablation.py varies, at 320 px")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        backbone, side, shape = args.case[0], int(args.case[1]), json.loads(args.case[2])
        if "bins" in shape:
            shape["bins"] = tuple(shape["bins"])
        print(json.dumps(one(backbone, side, args.photos, args.rounds, shape)))
        return
    rows = []
    shapes = [("mobilenet_v2", 320, shape) for shape in SHAPES]
    for backbone, side, shape in shapes if args.starter else [(*case, {}) for case in CASES]:
        command = [sys.executable, *sys.argv, "--case", backbone, str(side), json.dumps(shape)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(ran.stdout.splitlines()[-1]))
        print(ran.stdout.splitlines()[-1], flush=True)
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
