"""What the pyramid, the stride and the auxiliary loss are worth: mIoU of small networks on one protocol.

    python benchmarks/ablation.py --data ../shared/data/segmentation --out benchmarks/results/ablation.json

PSPNet on the ImageNet MobileNetV2, without the detail head. So that all of it fits into minutes of two
cores, the backbone's early blocks are frozen and run once: each training picture gives one random crop
and its mirror image, whose maps are kept. What follows is trained on those maps, the same way for every
variant: SGD, polynomial rate, the same crops in the same order. Protocol "heads" freezes the whole
backbone. There an auxiliary loss can change nothing, because no weight hears both losses; so "late"
also trains the backbone's last blocks, which do. Results are written after each variant, and a second
start goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from segmentation.backbones import MobileNetV2, freeze_batch_norm, load_pretrained
from segmentation.datasets import Augmentation, augment, find_pairs, read_pair
from segmentation.labels import STARTER
from segmentation.metrics import Confusion
from segmentation.preprocess import InputRule, to_batch
from segmentation.pspnet import NetworkConfig, PSPNet
from segmentation.training.losses import class_weights, parse_loss

SETS = ("camvid", "labelmefacade", "msrc")
CROP = Augmentation(256, (0.9, 1.6), flip=0, rotate_degrees=0, blur=0, jitter=0)
VAL_RULE = InputRule(short_px=256, long_px=512)
BATCH = 16
LAST_BLOCK = 17
LATE_BLOCK = 11
"""First block that protocol "late" trains: from here on maps have stride 16, or 8 when dilated."""
AUX_BLOCK = 13


@dataclass(frozen=True)
class Variant:
    """One network of the comparison.

    Attributes:
        bins: sides of the pyramid's grids.
        output_stride: 8 or 16.
        aux: whether there is an auxiliary loss.
        protocol: "heads" or "late".
        seed: of the heads' first weights and the order of the crops.
        class_weight_limit, hard_share: as in `segmentation.training.Schedule`.
    """

    bins: tuple[int, ...]
    output_stride: int = 16
    aux: bool = False
    protocol: str = "heads"
    seed: int = 0
    class_weight_limit: float = 6.0
    hard_share: float = 1.0

    @property
    def first_block(self) -> int:
        """First block that is not cached; one past the last when all are."""
        return LAST_BLOCK + 1 if self.protocol == "heads" else LATE_BLOCK

    def network(self) -> PSPNet:
        """The network, its backbone as ImageNet left it once `load_pretrained` was called."""
        shape = NetworkConfig(
            "mobilenet_v2",
            len(STARTER),
            output_stride=self.output_stride,
            bins=self.bins,
            aux=self.aux,
        )
        torch.manual_seed(self.seed)
        return PSPNet(shape)


VARIANTS = (
    Variant((1, 2, 3, 6)),
    Variant(()),
    Variant((1,)),
    Variant((1, 2, 3, 6), seed=1),
    Variant((), seed=1),
    Variant((1, 2, 3, 6), class_weight_limit=0.0),
    Variant((1, 2, 3, 6), hard_share=0.25),
    Variant((1, 2, 3, 6), aux=True, protocol="late"),
    Variant((1, 2, 3, 6), aux=False, protocol="late"),
    Variant((1, 2, 3, 6), output_stride=8),
)


class Kept(NamedTuple):
    """Maps of the frozen blocks.

    Attributes:
        crops: bf16 (2, N, C, h, w), as they are and mirrored.
        masks: uint8 (2, N, H, W).
        val: maps bf16 (1, C, h, w) and masks uint8 (H, W) of the val pictures.
    """

    crops: Tensor
    masks: Tensor
    val: list[tuple[Tensor, Any]]


def run_blocks(backbone: MobileNetV2, x: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Blocks `first` to `last` of a backbone without a twin; the last map, and that of AUX_BLOCK."""
    aux = x
    for index in range(first, last + 1):
        x = backbone.features[index](x)
        if index == AUX_BLOCK:
            aux = x
    return x, aux


@torch.inference_mode()
def keep_maps(
    data: Path, pretrained: dict[str, Tensor], stride: int, first: int, crop_px: int
) -> Kept:
    """Run every crop and val picture through the blocks before `first`."""
    crop = replace(CROP, crop_px=crop_px)
    backbone = MobileNetV2(stride, branch_at=None)
    load_pretrained(backbone, pretrained)
    backbone.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def maps(images: list[Any]) -> Tensor:
        batch = VAL_RULE.normalise(to_batch(images)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            return run_blocks(backbone, batch, 0, first - 1)[0].bfloat16()

    crops, masks = [], []
    pairs = [pair for name in SETS for pair in find_pairs(data / name / "train")]
    rng = np.random.default_rng(0)
    for start in tqdm(range(0, len(pairs), 8), f"maps at stride {stride}", mininterval=10):
        drawn = [augment(*read_pair(p, len(STARTER)), crop, rng) for p in pairs[start : start + 8]]
        images = [np.ascontiguousarray(image) for image, _ in drawn]
        labels = torch.from_numpy(np.stack([mask for _, mask in drawn]))
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        crops.append(torch.stack([maps(images), maps(mirrored)]))
        masks.append(torch.stack([labels, labels.flip(-1)]))
    val = []
    for pair in (pair for name in SETS for pair in find_pairs(data / name / "val")):
        image, mask = read_pair(pair, len(STARTER))
        val.append((maps([VAL_RULE.resize(image)]), mask))
    return Kept(torch.cat(crops, 1), torch.cat(masks, 1), val)


def logits_of(network: PSPNet, x: Tensor, variant: Variant) -> tuple[Tensor, Tensor | None]:
    """Logits and auxiliary logits from kept maps."""
    backbone = network.backbone
    assert isinstance(backbone, MobileNetV2)
    last, aux = run_blocks(backbone, x, variant.first_block, LAST_BLOCK)
    logits = network.classify(network.dropout(network.fuse(network.pyramid(last))))
    if network.auxiliary is None or not network.training:
        return logits, None
    return logits, network.auxiliary(aux)


def optimiser_of(network: PSPNet, variant: Variant) -> torch.optim.SGD:
    """Heads at rate 0.05; the late blocks, when they are trained, at 0.001."""
    network.requires_grad_(False)
    heads = [p for head in network.heads() for p in head.parameters()]
    blocks = network.backbone.get_submodule("features")[variant.first_block : LAST_BLOCK + 1]  # type: ignore[index]
    late = list(blocks.parameters())
    for parameter in heads + late:
        parameter.requires_grad_(True)
    groups = [{"params": heads, "base_rate": 0.05}, {"params": late, "base_rate": 0.001}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, 0.05, momentum=0.9, weight_decay=1e-4)


def train(network: PSPNet, variant: Variant, kept: Kept, epochs: int) -> None:
    """The protocol, in place."""
    optimiser = optimiser_of(network, variant)
    weights = class_weights(
        (mask.numpy() for mask in kept.masks[0]), len(STARTER), variant.class_weight_limit
    )
    rng = np.random.default_rng(variant.seed)
    count = kept.crops.shape[1]
    steps = epochs * (count // BATCH)
    bar = tqdm(total=steps, desc=str(variant.bins), mininterval=10)
    network.train()
    freeze_batch_norm(network.backbone)
    for _ in range(epochs):
        order, side = rng.permutation(count), rng.integers(0, 2, count)
        for start in range(0, count - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            x = kept.crops[side[chosen], chosen].contiguous(memory_format=torch.channels_last)
            masks = kept.masks[side[chosen], chosen].long()
            for group in optimiser.param_groups:
                group["lr"] = group["base_rate"] * (1 - bar.n / steps) ** 0.9
            with torch.autocast("cpu", torch.bfloat16):
                logits, aux = logits_of(network, x, variant)
            loss = parse_loss(logits, masks, weights, variant.hard_share, False)
            if aux is not None:
                loss = loss + 0.4 * parse_loss(aux, masks, weights, variant.hard_share, False)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimiser.step()
            bar.update()
    bar.close()


@torch.inference_mode()
def score(network: PSPNet, variant: Variant, kept: Kept) -> Confusion:
    """Confusion over the val pictures, single scale, at the masks' own size."""
    network.eval()
    confusion = Confusion(len(STARTER))
    for x, mask in kept.val:
        with torch.autocast("cpu", torch.bfloat16):
            logits, _ = logits_of(network, x, variant)
        found = network.upsample(logits.float(), mask.shape).argmax(1)[0]
        confusion.add(mask, found.to(torch.uint8).numpy())
    return confusion


def measured(
    variant: Variant, pretrained: dict[str, Tensor], kept: Kept, epochs: int
) -> dict[str, Any]:
    """Train and score one variant; its row."""
    started, cpu = time.monotonic(), time.process_time()
    network = variant.network()
    load_pretrained(network.backbone, pretrained)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(network, variant, kept, epochs)
    confusion = score(network, variant, kept)
    return {
        **asdict(variant),
        "bins": list(variant.bins),
        "epochs": epochs,
        "miou": round(confusion.miou, 4),
        "pixel_accuracy": round(confusion.pixel_accuracy, 4),
        "seconds": round(time.monotonic() - started),
        "cpu_seconds": round(time.process_time() - cpu),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--crop-px", type=int, default=CROP.crop_px, help="val stays at 256 px")
    parser.add_argument("--variants", type=int, default=len(VARIANTS), help="only the first ones")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    weights = args.data.parent / "weights" / "mobilenet_v2_imagenet.safetensors"
    pretrained = load_file(weights)
    rows: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else []
    held: tuple[tuple[int, int], Kept] | None = None
    crop = {"crop_px": args.crop_px}
    for variant in VARIANTS[: args.variants]:
        key = {**asdict(variant), "bins": list(variant.bins), "epochs": args.epochs, **crop}
        if any(key.items() <= {"crop_px": CROP.crop_px, **row}.items() for row in rows):
            continue
        where = (variant.output_stride, variant.first_block)
        if held is None or held[0] != where:
            held = None  # free the old maps before the new ones are made
            held = (where, keep_maps(args.data, pretrained, *where, args.crop_px))
        rows.append({**measured(variant, pretrained, held[1], args.epochs), **crop})
        print(json.dumps(rows[-1]), flush=True)
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
