"""How fast a network runs, beside how fast the same machine multiplies matrices at that moment.

Machines are shared, so a rate alone says little. Rounds of the network and rounds of a plain matrix
product alternate, and the ratio is taken within each round.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from segmentation.describe import Whitening
from segmentation.folded import FoldedPyramid
from segmentation.inference import windows
from segmentation.labels import LabelSet
from segmentation.manifest import Manifest
from segmentation.predict import Parser, Prepared, feature_width, pick_device
from segmentation.preprocess import InputRule
from segmentation.pspnet import NetworkConfig, PSPNet
from segmentation.resample import Rgb
from segmentation.stream import Stream

MATMUL_SIDE = 2048
"""Side of the square matrices whose product is the machine's rate."""


@dataclass(frozen=True)
class Speed:
    """What was measured. Rates are medians over the rounds.

    Attributes:
        network: backbone and output stride.
        kind: "bfloat16" or "float32".
        device, threads: where; compute threads of a CPU.
        clock: "wall", or "processor" with a single thread of a CPU.
        batch: most pictures in one forward pass.
        sizes: (height, width) in pixels of the network's inputs.
        images: pictures that were timed.
        images_per_s, ms_per_image: through the network, from resized pictures.
        gflop_per_image: floating-point operations of the network as published (a multiply-add is 2).
        computed_gflop_per_image: less where the pyramid is folded; Winograd's count as direct ones.
        achieved_gflops: computed operations a second.
        matmul_gflops: of 2048 × 2048 matrices in the same number type, in the same rounds.
        ratio_to_matmul: median over the rounds of achieved / matmul.
        best_matmul_gflops: best rate seen of any size (1024, 2048, 4096).
        parsed_images_per_s: with class maps, regions and vectors, from resized pictures.
        memory_mb: peak of the device, or 0 on a CPU.
    """

    network: str
    kind: str
    device: str
    threads: int
    clock: str
    batch: int
    sizes: list[tuple[int, int]]
    images: int
    images_per_s: float
    ms_per_image: float
    gflop_per_image: float
    computed_gflop_per_image: float
    achieved_gflops: float
    matmul_gflops: float
    ratio_to_matmul: float
    best_matmul_gflops: float
    parsed_images_per_s: float
    memory_mb: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to what was measured."""
        return {
            key: round(value, 3 if key == "ratio_to_matmul" else 2)
            if isinstance(value, float)
            else value
            for key, value in asdict(self).items()
        }


@lru_cache
def published_flop(config: NetworkConfig, height: int, width: int) -> int:
    """Floating-point operations of one picture through the network as published."""
    with torch.device("meta"):
        network = PSPNet(config).eval()
        pixels = torch.empty(1, 3, height, width)
    with FlopCounterMode(display=False) as counter:
        network(pixels)
    return int(counter.get_total_flops())


def _saved_flop(parser: Parser, height: int, width: int) -> int:
    pyramid: Any = parser.network.pyramid
    if not isinstance(pyramid, FoldedPyramid):
        return 0
    return pyramid.saved_flop(-(-height // 8) * -(-width // 8))


def _flop(parser: Parser, picture: Prepared) -> tuple[int, int]:
    """Operations for one picture as published, and as computed: all its views and windows."""
    rule, published, saved = parser.inference, 0, 0
    for view in picture.views:
        for box in windows(view.pixels.shape[0], view.pixels.shape[1], rule):
            times = 2 if rule.flip else 1
            published += times * published_flop(parser.network.config, box.height, box.width)
            saved += times * _saved_flop(parser, box.height, box.width)
    return published, published - saved


def random_parser(
    backbone: str, size: int, device: str = "auto", classes: int = 150, **shape: Any
) -> Parser:
    """A PSPNet of stride 8 with random weights: its speed is that of a trained one.

    Args:
        backbone: one of `segmentation.backbones.BACKBONES`.
        size: sides in pixels of what the network sees; pictures are bent to a square.
        shape: other settings of `NetworkConfig`, such as `bins`.
    """
    stem = (32, 32, 64) if backbone.startswith("resnet") else None
    torch.manual_seed(0)
    network = PSPNet(NetworkConfig(backbone, classes, stem=stem, aux=False, **shape))
    rule = InputRule(size, size, size, filter="opencv", rounding="nearest")
    names = tuple(f"class {number}" for number in range(classes))
    manifest = replace(
        Manifest.load("starter"),
        name=f"random-{backbone}",
        labels=LabelSet("random", names, names, ("#808080",) * classes),
        input=rule.to_json(),
        inference={},
    )
    whitening = Whitening.identity(feature_width(network))
    return Parser(manifest, network, whitening, pick_device(device))


def batches_of(parser: Parser, images: Iterable[Rgb], size: int) -> list[list[Prepared]]:
    """Decoded pictures, resized and in batches of at most `size` of one bucket each."""
    buckets: dict[tuple[int, int], list[Prepared]] = defaultdict(list)
    for image in images:
        prepared = parser.prepare(image)
        buckets[prepared.bucket].append(prepared)
    return [group[i : i + size] for group in buckets.values() for i in range(0, len(group), size)]


class _Clock:
    """Seconds that work on a device takes, its queue waited for.

    With one thread on a CPU it is the processor's time, which other programs hardly change.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.alone = device.type == "cpu" and torch.get_num_threads() == 1
        self._now = time.process_time if self.alone else time.perf_counter

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def __call__(self, work: Callable[[], object]) -> float:
        self._wait()
        started = self._now()
        work()
        self._wait()
        return self._now() - started


class _Matmul:
    """Rate of a product of two square matrices in the network's number type, GFLOP/s."""

    def __init__(self, side: int, kind: torch.dtype, clock: _Clock) -> None:
        self.operands = [torch.randn(side, side).to(clock.device, kind) for _ in range(2)]
        self.gflop, self.clock = 2 * side**3 / 1e9, clock
        self.rate()

    def rate(self, times: int = 4) -> float:
        """Mean of several products in a row."""
        a, b = self.operands

        def work() -> None:
            for _ in range(times):
                torch.mm(a, b)

        return times * self.gflop / self.clock(work)


def measure(
    parser: Parser,
    batches: list[list[Prepared]],
    rounds: int = 0,
    progress: Callable[[list[int]], Iterable[int]] = iter,
) -> Speed:
    """Alternate one batch through the network with matrix products.

    Args:
        batches: as `batches_of` makes them; taken in turn.
        rounds: how often; 0 for each batch once.
        progress: wraps the rounds' numbers, as tqdm does.
    """
    clock = _Clock(parser.device)
    kind = torch.bfloat16 if parser.fast else torch.float32
    matmul = _Matmul(MATMUL_SIDE, kind, clock)
    ask = parser.forward if parser.inference.plain else parser.infer
    for bucket in {batch[0].bucket: batch for batch in batches}.values():
        ask(bucket)  # the first of each size prepares what the others find
    seconds: list[float] = []
    matmuls: list[float] = []
    rates: list[float] = []
    flops = np.zeros(2)
    images = 0
    for number in progress(list(range(rounds or len(batches)))):
        batch = batches[number % len(batches)]
        flop = len(batch) * np.asarray(_flop(parser, batch[0]))
        before = matmul.rate()
        seconds.append(clock(lambda some=batch: ask(some)))  # type: ignore[misc]
        matmuls.append((before + matmul.rate()) / 2)
        rates.append(flop[1] / seconds[-1] / 1e9)
        flops, images = flops + flop, images + len(batch)
    last = batches[: max(1, len(batches) // 4)]
    stream = Stream(parser)
    parsing = clock(lambda: [one.describe() for some in stream(last) for one in some])
    total = sum(seconds)
    return Speed(
        network=f"{parser.network.config.backbone}, stride {parser.network.config.output_stride}",
        kind=str(kind).removeprefix("torch."),
        device=torch.cuda.get_device_name(parser.device) if parser.device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        clock="processor" if clock.alone else "wall",
        batch=max(map(len, batches)),
        sizes=sorted({batch[0].bucket for batch in batches}),
        images=images,
        images_per_s=images / total,
        ms_per_image=1000 * total / images,
        gflop_per_image=float(flops[0]) / images / 1e9,
        computed_gflop_per_image=float(flops[1]) / images / 1e9,
        achieved_gflops=float(np.median(rates)),
        matmul_gflops=float(np.median(matmuls)),
        ratio_to_matmul=float(np.median(np.divide(rates, matmuls))),
        best_matmul_gflops=max(_Matmul(n, kind, clock).rate() for n in (1024, MATMUL_SIDE, 4096)),
        parsed_images_per_s=sum(map(len, last)) / parsing,
        memory_mb=_peak_mb(parser.device),
    )


def _peak_mb(device: torch.device) -> int:
    return round(torch.cuda.max_memory_allocated(device) / 1e6) if device.type == "cuda" else 0
