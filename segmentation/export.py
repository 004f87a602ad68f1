"""From a training run to weights that can be shipped: float16 safetensors and their manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from segmentation.decode import decode
from segmentation.describe import Floats, Whitening
from segmentation.errors import ConfigError
from segmentation.labels import LabelSet
from segmentation.manifest import Manifest, sha256_of
from segmentation.predict import Parser
from segmentation.pspnet import NetworkConfig, PSPNet
from segmentation.training.state import BEST, FIGURES
from segmentation.whiten import fit_whitening

RANKING = {"context": 0.7, "layout": 0.1, "composition": 0.2}
"""Default ranking weights; chosen in docs/ranking.md."""

FUSED_SHARE = 0.2
"""Share of the pooled features' variance that the fused map is given beside the general map."""


def feature_scales(features: Floats, general_width: int, fused_share: float) -> Floats:
    """Weights (F,) under which the fused part holds `fused_share` of the total variance."""
    variance = features.var(0)
    general, fused = variance[:general_width].sum(), variance[general_width:].sum()
    scales = np.empty(features.shape[1], np.float32)
    scales[:general_width] = np.sqrt((1 - fused_share) / max(general, 1e-12))
    scales[general_width:] = np.sqrt(fused_share / max(fused, 1e-12))
    return scales


def pooled(parser: Parser, photos: Path) -> Floats:
    """Mean features of all JPEGs below `photos`, float32 (N, F)."""
    rows = []
    for path in tqdm(sorted(photos.rglob("*.jpg")), "pooling", unit="image"):
        (parsed,) = parser.infer([parser.prepare(decode(path))])
        rows.append(parsed.features.mean((0, 1)))
    return np.stack(rows)


def _labels(values: dict[str, Any]) -> LabelSet:
    classes, classes_zh, colours = (
        tuple(values[key]) for key in ("classes", "classes_zh", "colours")
    )
    return LabelSet(values["name"], classes, classes_zh, colours, values["offset"])


def _manifest(name: str, figures: dict[str, Any], out: Path, digest: str) -> Manifest:
    return Manifest(
        name=name,
        title=f"PSPNet on {figures['network']['backbone']}, {figures['label_set']} label set",
        labels=_labels(figures["labels"]),
        network={**figures["network"], "aux": False},
        input=figures["input"],
        context_width=256,
        ranking=RANKING,
        weights_file=f"{name}.safetensors",
        weights_sha256=digest,
        metrics={key: figures[key] for key in ("miou", "pixel_accuracy", "epoch")},
        folder=out,
    )


def export(run: Path, name: str, out: Path, photos: Path) -> Manifest:
    """Write `NAME.safetensors` (float16, without the auxiliary head) and `NAME.json`.

    Args:
        run: folder of a finished training run.
        photos: pictures on which the whitening is fitted.

    Raises:
        ConfigError: the run has no evaluated state yet.
    """
    if not (run / FIGURES).exists():
        raise ConfigError(f"{run} has no evaluated state yet ({FIGURES})")
    figures = json.loads((run / FIGURES).read_text())
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in load_file(run / BEST).items()
        if not key.startswith("auxiliary.") and not key.endswith("num_batches_tracked")
    }
    draft = _manifest(name, figures, out, "")
    network = PSPNet(NetworkConfig.from_json(draft.network))
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    general = network.backbone.general_channels
    placeholder = Whitening(np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
    parser = Parser(draft, network, placeholder, torch.device("cpu"))
    features = pooled(parser, photos)
    whitening = fit_whitening(features, feature_scales(features, general, FUSED_SHARE))
    state["whitening.mean"] = torch.from_numpy(whitening.mean)
    state["whitening.matrix"] = torch.from_numpy(whitening.matrix).half()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.safetensors"
    save_file(state, path)
    manifest = _manifest(name, figures, out, sha256_of(path))
    manifest.save(out)
    return manifest
