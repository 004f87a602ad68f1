"""`manage.py evaluate retrieval|layout --data DIR`: how well search finds the same category or layout."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.core.management.base import BaseCommand, CommandError
from numpy.typing import NDArray
from PIL import Image
from torchvision.models.mobilenetv2 import mobilenet_v2
from tqdm import tqdm

from segmentation.decode import decode
from segmentation.describe import Description
from segmentation.predict import Parser
from segmentation.preprocess import to_batch
from workers.layout_evaluation import evaluate_layout

Matrix = NDArray[np.float32]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def precision_and_map(similarity: Matrix, labels: NDArray[Any]) -> tuple[float, float]:
    """precision@10 and mAP when every picture is queried against all others.

    Args:
        similarity: (N, N), larger is nearer; the diagonal is left out.
        labels: (N,) categories.
    """
    scores = similarity.astype(np.float64).copy()
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
    relevant = labels[order] == labels[:, None]
    precision = relevant.cumsum(1) / np.arange(1, relevant.shape[1] + 1)
    found = np.maximum(relevant.sum(1), 1)
    return float(relevant[:, :10].mean()), float(((precision * relevant).sum(1) / found).mean())


def figures(similarity: Matrix, labels: NDArray[Any]) -> dict[str, float]:
    """The two as the command's JSON names them."""
    precision, mean = precision_and_map(similarity, labels)
    return {"precision_at_10": round(precision, 4), "map": round(mean, 4)}


def cosine(rows: list[Any]) -> Matrix:
    """(N, N) cosine similarities of N vectors."""
    matrix = np.stack(rows).astype(np.float32)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return matrix @ matrix.T


def dense_layout(description: Description) -> Matrix:
    """The layout with its zeros, float32 (64·C,)."""
    vector = np.zeros(description.layout_width, np.float32)
    vector[description.layout_indices] = description.layout_values
    return vector


def colour_histogram(image: NDArray[np.uint8]) -> Matrix:
    """sqrt of an 8×8×8 RGB histogram, float32 (512,)."""
    small = np.asarray(Image.fromarray(image).resize((128, 128))) >> 5
    index = (small[..., 0].astype(int) * 8 + small[..., 1]) * 8 + small[..., 2]
    counts: Matrix = np.bincount(index.ravel(), minlength=512).astype(np.float32)
    return np.sqrt(counts / counts.sum())


class ImageNetBackbone:
    """Pooled features of MobileNetV2 as it was pretrained, at 256², undilated.

    The starter network keeps those weights untouched beside its parser; they are read from there, so
    that this baseline needs no other file.
    """

    def __init__(self, parser: Parser) -> None:
        from safetensors.torch import load_file

        state = load_file(parser.manifest.weights_path)
        prefix = "backbone.features."
        self.features = mobilenet_v2(weights=None).features.eval()
        own = {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}
        self.features.load_state_dict(own, strict=False)
        self.rule = parser.rule

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Matrix:
        """float32 (1280,)"""
        square = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR))
        maps = self.features(self.rule.normalise(to_batch([square])))
        pooled: Matrix = maps.mean((2, 3))[0].numpy()
        return pooled


class Command(BaseCommand):
    help = "Measure search by folders of images per category, or by ground-truth masks."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", choices=["retrieval", "layout"])
        parser.add_argument("--data", type=Path, required=True)
        parser.add_argument("--weights", default="starter")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, what: str, data: Path, weights: str, **options: Any) -> None:
        if what == "layout":
            answer = evaluate_layout(Parser.load(weights), data)
            self.stdout.write(json.dumps(answer, indent=None if options["json"] else 1))
            return
        files = [p for p in sorted(data.glob("*/*")) if p.suffix.lower() in SUFFIXES]
        if len({path.parent for path in files}) < 2:
            raise CommandError(
                f"{data} needs a folder of images for each of two categories or more"
            )
        result = evaluate_retrieval(Parser.load(weights), files)
        if options["json"]:
            self.stdout.write(json.dumps(result))
        else:
            self.stdout.write(json.dumps(result, indent=1))


def evaluate_retrieval(parser: Parser, files: list[Path]) -> dict[str, Any]:
    """The command's answer for files whose folder is their category."""
    labels = np.array([path.parent.name for path in files])
    backbone = ImageNetBackbone(parser)
    described: list[Description] = []
    colours, pooled = [], []
    for path in tqdm(files, "describing", unit="image", mininterval=1):
        image = decode(path)
        described += parser.parse([parser.prepare(image)])
        colours.append(colour_histogram(image))
        pooled.append(backbone(image))
    spaces = {
        "context": cosine([d.context for d in described]),
        "layout": cosine([dense_layout(d) for d in described]),
        "composition": cosine([d.composition for d in described]),
    }
    rank = parser.manifest.ranking
    total = np.zeros_like(spaces["context"])
    for space, weight in rank.items():
        total = total + weight * spaces[space]
    return {
        "images": len(files),
        **figures(total, labels),
        "baselines": {
            "colour_histogram": figures(cosine(colours), labels),
            "imagenet_backbone": figures(cosine(pooled), labels),
        },
        "spaces": {name: figures(similarity, labels) for name, similarity in spaces.items()},
        "rank": rank,
    }
