"""The picture of docs/training.md from what ablation.py and cost.py measured.

python benchmarks/draw_costs.py --ablation benchmarks/results/ablation.json --cost benchmarks/results/cost.json --out docs/images/cost.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE = "#23608f", "#ba5c30"
LABELS = {"mobilenet_v2": "MobileNetV2", "resnet18": "R18", "resnet34": "R34", "resnet50": "R50"}


def variant_name(row: dict[str, Any]) -> str:
    """Bins, stride, auxiliary loss and protocol in a few words."""
    bins = "-".join(map(str, row["bins"])) or "none"
    aux = ", auxiliary loss" if row["aux"] else ""
    aux += ", unweighted" if not row["class_weight_limit"] else ""
    aux += ", hard pixels" if row["hard_share"] < 1 else ""
    return f"{bins}, stride {row['output_stride']}{aux} ({row['protocol']})"


def draw_accuracy(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """mIoU of the ablation's variants as dots, one line for each name, a dot for each seed."""
    names = list(dict.fromkeys(map(variant_name, rows)))
    for row in rows:
        axes.plot(row["miou"], names.index(variant_name(row)), "o", color=BLUE)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("mIoU on val, short budget")
    axes.set_title("What the pyramid, the stride and the auxiliary loss are worth")


def draw_cost(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Images/s against GFLOP; depths at 473 px, and two networks at other sizes."""
    for backbone, colour in (("mobilenet_v2", BLUE), ("resnet50", ORANGE)):
        line = sorted((r for r in rows if r["backbone"] == backbone), key=lambda r: r["side_px"])
        points = [[r["gflop_per_image"] for r in line], [r["images_per_s"] for r in line]]
        axes.plot(*points, "-", color=colour, alpha=0.5)
    for row in rows:
        main = row["side_px"] == 473
        axes.plot(row["gflop_per_image"], row["images_per_s"], "o", color=BLUE if main else "#999")
        name = LABELS.get(row["backbone"], "R101")
        text = f"{name}, {row['peak_mb']} MB" if main else f"{row['side_px']} px"
        place = (row["gflop_per_image"], row["images_per_s"])
        axes.annotate(text, place, (5, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.set_xlabel("GFLOP an image")
    axes.set_ylabel("images/s, one thread")
    axes.set_title("What depth (at 473 px) and input size cost, stride 8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ablation", type=Path, required=True)
    parser.add_argument("--cost", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    figure = Figure((12, 4.6), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    draw_accuracy(left, json.loads(args.ablation.read_text()))
    draw_cost(right, json.loads(args.cost.read_text()))
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
