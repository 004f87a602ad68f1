"""Pictures a second beside mmsegmentation's PSPNet: same weights, photographs and machine, one run.

    python benchmarks/speed_vs_mmseg.py r50 --photos ../shared/data/photos

Both read the file, resize it as mmsegmentation does, run the network and give the class map at the
photograph's own size; they take turns photograph by photograph. Needs the environment of
benchmarks/parity/requirements.txt. Exit status 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.parity.run import asked_for, randomise, save
from segmentation.checkpoints import import_checkpoint
from segmentation.checkpoints.certify import photographs
from segmentation.checkpoints.sources import Source, source_of
from segmentation.datasets import find_pairs, read_pair
from segmentation.decode import decode
from segmentation.inference import InferenceRule
from segmentation.labels import IGNORE
from segmentation.manifest import Manifest
from segmentation.predict import Parser
from segmentation.pspnet import NetworkConfig

TIMES, AGREEMENT = 2.0, 0.995
_CALIBRATED = 16
_FITTED, _CELLS, _STEPS = 120, 400, 400

Answer = Callable[[Path], NDArray[np.integer[Any]]]


def fit_classifier(parser: Parser, data: Path, network: nn.Conv2d) -> None:
    """Teach the classifier alone on labelled pictures (`NAME.jpg`, `NAME.png`), by cross-entropy.

    A random classifier is undecided between 150 classes nearly everywhere, and then any rounding
    changes many pixels. A trained one is not; this one is trained on random features at least.
    """
    rng, features, labels = np.random.default_rng(0), [], []
    pairs = find_pairs(data)
    for number in tqdm(rng.permutation(len(pairs))[:_FITTED], "features", mininterval=2):
        image, mask = read_pair(pairs[number], network.out_channels)
        prepared = parser.prepare(image)
        fused = parser.forward([prepared]).fused[0].float()
        small = Image.fromarray(mask).resize((fused.shape[2], fused.shape[1]), Image.NEAREST)
        wanted = torch.from_numpy(np.array(small).astype(np.int64)).flatten()
        known = (wanted != IGNORE).nonzero()[:, 0]
        known = known[torch.from_numpy(rng.permutation(len(known))[:_CELLS])]
        features.append(fused.flatten(1).T[known].clone())
        labels.append(wanted[known])
    x, y = torch.cat(features), torch.cat(labels)
    mean, deviation = x.mean(0), x.std(0) + 1e-3
    weight = torch.zeros(network.out_channels, x.shape[1], requires_grad=True)
    bias = torch.zeros(network.out_channels, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=0.01)
    x = (x - mean) / deviation
    for _ in tqdm(range(_STEPS), "fitting", mininterval=2):
        some = torch.from_numpy(rng.integers(0, len(x), 2048))
        loss = nn.functional.cross_entropy(x[some] @ weight.T + bias, y[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        network.weight.copy_((weight / deviation)[:, :, None, None])
        network.bias.copy_(bias - (weight / deviation) @ mean)
    print(f"fitted: loss {loss:.2f}", file=sys.stderr)


def both(args: argparse.Namespace, folder: Path) -> tuple[Answer, Answer]:
    """mmsegmentation's way from a file to a class map, and this project's, with the same weights."""
    source: Source = source_of("mmseg", None)
    source.prepare()
    config = asked_for("mmseg", args.network, args.labels, None)
    parts = source.build(config, args.labels)
    randomise(source, parts, photographs(args.photos, _CALIBRATED), args.seed)
    files = save("mmseg", parts, folder, args.labels)
    path = import_checkpoint(files[0], labels=args.labels, target_dir=folder / "imported")
    if args.fit:
        fit_classifier(Parser.load(path, "cpu"), args.fit, source.classifier(parts))
        files = save("mmseg", parts, folder, args.labels)
        path = import_checkpoint(
            files[0], labels=args.labels, target_dir=folder / "imported", overwrite=True
        )
    manifest = Manifest.load(path)
    rule = InferenceRule.from_json(manifest.inference)
    shape = NetworkConfig.from_json(manifest.network)
    runner = source.run(files, shape, args.labels, rule)
    parser = Parser.load(path, "cpu", bf16=False if args.own_float32 else None)

    def theirs(photo: Path) -> NDArray[np.integer[Any]]:
        kind = torch.autocast("cpu", torch.bfloat16) if args.their_bf16 else nullcontext()
        with torch.inference_mode(), kind:
            return runner.mask(photo)

    def own(photo: Path) -> NDArray[np.uint8]:
        image = decode(photo)
        (parsed,) = parser.infer([parser.prepare(image, (image.shape[0], image.shape[1]))])
        return parsed.mask

    return theirs, own


def _timed(answer: Answer, photo: Path) -> tuple[NDArray[np.integer[Any]], float]:
    started = time.perf_counter()
    mask = answer(photo)
    return mask, time.perf_counter() - started


def measure(args: argparse.Namespace, theirs: Answer, own: Answer) -> dict[str, Any]:
    """Turns, theirs first and ours first alternately; the first photograph warms both up."""
    photos = photographs(args.photos, args.images)
    theirs(photos[0]), own(photos[0])
    seconds, same, pixels = [], 0, 0
    for number, photo in enumerate(tqdm(photos, "comparing", unit="image", mininterval=2)):
        order = (theirs, own) if number % 2 == 0 else (own, theirs)
        found = {answer: _timed(answer, photo) for answer in order}
        seconds.append((found[theirs][1], found[own][1]))
        same += int((found[theirs][0] == found[own][0]).sum())
        pixels += found[own][0].size
    total = np.asarray(seconds).sum(0)
    ratios = np.asarray(seconds)[:, 0] / np.asarray(seconds)[:, 1]
    return {
        "network": args.network,
        "labels": args.labels,
        "their_type": "bfloat16 (autocast)" if args.their_bf16 else "float32",
        "own_type": "float32" if args.own_float32 else "bfloat16",
        "threads": torch.get_num_threads(),
        "images": len(photos),
        "their_images_per_s": round(len(photos) / total[0], 3),
        "own_images_per_s": round(len(photos) / total[1], 3),
        "times": round(float(total[0] / total[1]), 2),
        "times_median": round(float(np.median(ratios)), 2),
        "classifier": "fitted" if args.fit else "random",
        "agreement": round(same / pixels, 5),
    }


def main() -> int:
    """Exit status 0 when both goals are reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=["r18", "r50", "r50b", "r101"])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--labels", default="ade20k")
    parser.add_argument("--their-bf16", action="store_true", help="run theirs under bf16 autocast")
    parser.add_argument("--own-float32", action="store_true", help="run ours in float32")
    parser.add_argument("--fit", type=Path, help="labelled pictures to fit the classifier to")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, *both(args, Path(folder)))
    print(json.dumps(result))
    return 0 if result["times"] >= TIMES and result["agreement"] >= AGREEMENT else 1


if __name__ == "__main__":
    sys.exit(main())
