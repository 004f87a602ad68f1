"""A loaded network with its rules: pictures in, descriptions out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.describe import Description, ParsedPicture, Whitening, describe
from segmentation.errors import DeviceOutOfMemory, WeightsError
from segmentation.folded import fold_pyramid, speed_up
from segmentation.fused import fuse_batch_norms
from segmentation.inference import (
    InferenceRule,
    joined,
    look,
    most_probable,
    output_scores,
    stitched,
)
from segmentation.manifest import Manifest
from segmentation.preprocess import InputRule, View, to_batch
from segmentation.pspnet import NetworkConfig, ParsedMaps, PSPNet
from segmentation.resample import Pixels, Rgb
from segmentation.rounding import correct_biases

MAX_MASK_PX = 512
"""Longest side of a stored class map."""


@dataclass(frozen=True)
class Prepared:
    """A picture resized for the network.

    Attributes:
        views: the picture at each size it is looked at in.
        mask_size: (height, width) of the class map to make, in the picture's own aspect ratio.
    """

    views: tuple[View, ...]
    mask_size: tuple[int, int]

    @property
    def pixels(self) -> Pixels:
        """The first view's pixels, (h, w, 3)."""
        return self.views[0].pixels

    @property
    def bucket(self) -> tuple[int, int]:
        """(h, w): pictures of one bucket can go through the network together."""
        return self.pixels.shape[0], self.pixels.shape[1]


class OnDevice(NamedTuple):
    """A parsed picture as `ParsedPicture`, on the network's device.

    Attributes:
        mask: uint8 (h, w).
        confidence: float32 (gh, gw).
        features: (fh, fw, F) in the network's type or float32.
    """

    mask: Tensor
    confidence: Tensor
    features: Tensor


def pick_device(name: str = "auto") -> torch.device:
    """The CUDA device when there is one and `name` is "auto"; otherwise what is named."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed natively rather than emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _empty(config: NetworkConfig) -> PSPNet:
    """A network whose weights were never set: drawing 50 million random ones takes a second."""
    with torch.device("meta"):
        network = PSPNet(config)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()  # its counter of batches may be absent from a file
    return network


def _split_state(state: dict[str, Tensor], network: PSPNet) -> tuple[dict[str, Tensor], Whitening]:
    """Weights of the network, and the whitening: none was fitted yet when a file has none."""
    if "whitening.mean" not in state:
        return state, Whitening.identity(feature_width(network))
    mean, matrix = state.pop("whitening.mean"), state.pop("whitening.matrix")
    return state, Whitening(mean.float().numpy(), matrix.float().numpy())


def feature_width(network: PSPNet) -> int:
    """F: channels of the general map and of the fused map together."""
    return network.backbone.general_channels + network.config.width


class Parser:
    """Parses pictures with one set of weights.

    Thread-safe except `infer`, which one thread calls at a time.

    Args:
        manifest: what the weights are.
        network: taken over, and changed for speed unless `exact`.
        whitening: projection of pooled features.
        device: where the network lives.
        exact: compute in float32 and in the order of sums that other code has, to compare with it.
        bf16: compute in bfloat16; None for where that is fast.
    """

    def __init__(
        self,
        manifest: Manifest,
        network: PSPNet,
        whitening: Whitening,
        device: torch.device,
        exact: bool = False,
        bf16: bool | None = None,
    ) -> None:
        self.manifest = manifest
        self.rule = InputRule.from_json(manifest.input)
        self.look_by(InferenceRule.from_json(manifest.inference))
        self.whitening = whitening
        self.device = device
        self.fast = (has_fast_bf16(device) if bf16 is None else bf16) and not exact
        network.eval()
        if not exact:
            fuse_batch_norms(network)
            fold_pyramid(network)
        # Exactly, then in the order of sums that other code has.
        self.memory = torch.contiguous_format if exact else torch.channels_last
        self.network = network.to(device, memory_format=self.memory)  # type: ignore[call-overload]
        kind = torch.bfloat16 if self.fast else torch.float32
        if self.fast:
            correct_biases(self.network, self.rule, kind)
        if not exact:
            # Weights kept in bf16: autocast would convert them anew for every batch.
            speed_up(self.network, kind)

    @classmethod
    def load(
        cls,
        name: str | Path = "starter",
        device: str = "auto",
        threads: int | None = None,
        whitening: Whitening | None = None,
        exact: bool = False,
        bf16: bool | None = None,
    ) -> Parser:
        """Load verified weights.

        Args:
            name: shipped weights, or the path of a manifest.
            device: "auto", "cpu", "cuda" or "cuda:N".
            threads: compute threads of the process; None leaves torch's own choice.
            whitening: used instead of the one in the file, such as a release's own.
            exact: compute in float32 and with batch norms as they are, to compare with other code.
            bf16: compute in bfloat16; None for where that is fast.

        Raises:
            WeightsError: missing, altered, or not fitting the network of the manifest.
        """
        if threads:
            torch.set_num_threads(threads)
        manifest = Manifest.load(name)
        path = manifest.verify_weights()
        network = _empty(NetworkConfig.from_json(manifest.network))
        try:
            state, own = _split_state(load_file(path), network)
            # Batch norms count their batches; that counter is no weight and may be absent.
            missing, unexpected = network.load_state_dict(
                {key: value.float() for key, value in state.items()}, strict=False
            )
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise WeightsError(f"{path.name} does not fit its manifest: {error}") from error
        lacking = [
            key
            for key in missing
            if not key.endswith("num_batches_tracked") and not key.startswith("auxiliary.")
        ]
        if lacking or unexpected:
            raise WeightsError(
                f"{path.name} does not fit its manifest: "
                f"{len(lacking)} keys missing {lacking[:2]}, {len(unexpected)} unexpected "
                f"{unexpected[:2]}."
            )
        whitening = whitening or own
        if len(whitening.mean) != feature_width(network):
            raise WeightsError(
                f"{path.name}: its whitening takes {len(whitening.mean)} features, the network "
                f"has {feature_width(network)}; fit it again."
            )
        return cls(manifest, network, whitening, pick_device(device), exact, bf16)

    def look_by(self, inference: InferenceRule) -> None:
        """Ask the network by another rule from now on, such as at more sizes."""
        self.inference = inference
        sizes = inference.sizes or ((self.rule.short_px, self.rule.long_px),)
        self._rules = [replace(self.rule, short_px=s, long_px=long) for s, long in sizes]

    # --- stages, in their order ---------------------------------------------------------------

    def prepare(self, image: Rgb, mask_size: tuple[int, int] | None = None) -> Prepared:
        """Resize uint8 (H, W, 3) RGB for the network.

        Args:
            mask_size: (height, width) of the class map; by default the picture's shape at no more
                than 512 px, and no more than the network sees.
        """
        views = tuple(rule.view(image) for rule in self._rules)
        if mask_size is None:
            height, width = image.shape[:2]
            seen = max(max(view.content.height, view.content.width) for view in views)
            scale = min(MAX_MASK_PX / max(height, width), seen / max(height, width))
            mask_size = max(1, round(height * scale)), max(1, round(width * scale))
        return Prepared(views, mask_size)

    def forward(self, pictures: list[Prepared]) -> ParsedMaps:
        """Raw maps of the first views of pictures of one bucket, on the device."""
        return self._run(self._normalised([p.pixels for p in pictures]))

    def input_of(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) on 0..255, on the device → what the network reads, in its type."""
        batch = self.rule.normalise(pixels)
        batch = batch.to(torch.bfloat16) if self.fast else batch
        return batch.contiguous(memory_format=self.memory)

    def _normalised(self, pixels: list[Pixels]) -> Tensor:
        return self.rule.normalise(to_batch(pixels).to(self.device))

    def _run(self, batch: Tensor) -> ParsedMaps:
        if self.fast:
            batch = batch.to(torch.bfloat16)
        batch = batch.contiguous(memory_format=self.memory)
        with torch.inference_mode():
            maps: ParsedMaps = self.network(batch)
        return maps

    def infer(self, pictures: list[Prepared]) -> list[ParsedPicture]:
        """Class maps and features of pictures of one bucket, on the CPU.

        Raises:
            DeviceOutOfMemory: the batch is too large for the device.
        """
        with self.guarded(pictures):
            return self._infer(pictures)

    @contextmanager
    def guarded(self, pictures: list[Prepared]) -> Iterator[None]:
        """Tell a device that is full from other errors."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise DeviceOutOfMemory(
                f"{len(pictures)} pictures of {pictures[0].bucket} do not fit on {self.device}."
            ) from error

    @torch.inference_mode()
    def _infer(self, pictures: list[Prepared]) -> list[ParsedPicture]:
        if self.inference.plain:
            found = self.seen_whole(self.forward(pictures), pictures)
        else:
            found = [self.seen_by_views(picture) for picture in pictures]
        return [
            ParsedPicture(
                one.mask.cpu().numpy(),
                one.confidence.cpu().numpy(),
                one.features.float().cpu().numpy(),
            )
            for one in found
        ]

    def seen_whole(self, maps: ParsedMaps, pictures: list[Prepared]) -> list[OnDevice]:
        """What the maps of a batch say of each of its pictures, by a rule of one whole view."""
        logits = maps.logits.float()
        masks = self.class_maps(logits, pictures)
        rows = zip(masks, logits.softmax(1).amax(1), self.features_of(maps), strict=True)
        return [OnDevice(*row) for row in rows]

    def class_maps(self, logits: Tensor, pictures: list[Prepared]) -> list[Tensor]:
        """Class maps uint8 of logits float32 (B, C, h, w), on their device.

        Most published networks come to the picture's size through that of the network's input.
        """
        rule, upsample, masks = self.inference, self.network.upsample, []
        for one, picture in zip(logits, pictures, strict=True):
            size = picture.mask_size
            within = picture.bucket if rule.upsample == "window" else size
            if logits.device.type == "cpu":
                masks.append(most_probable(one, within, size, rule, upsample))
                continue
            # A GPU would have to be waited for to know which classes are possible.
            wide = upsample(one[None], within)
            if within != size:
                corners = rule.align_corners
                wide = F.interpolate(wide, size, mode="bilinear", align_corners=corners)
            masks.append(wide[0].argmax(0).to(torch.uint8))
        return masks

    def seen_by_views(self, picture: Prepared) -> OnDevice:
        """One picture by an inference rule of windows, sizes or mirror images."""
        scores, features = self._look(picture)
        cells = (features.shape[0], features.shape[1])
        confident = F.adaptive_avg_pool2d(scores.amax(0)[None], cells)[0]
        return OnDevice(scores.argmax(0).to(torch.uint8), confident, features)

    def _look(self, picture: Prepared) -> tuple[Tensor, Tensor]:
        """Probabilities (C, *mask_size) over all views, and the features of the middle one."""
        upsample, rule = self.network.upsample, self.inference
        total: Tensor | None = None
        features: Tensor | None = None
        for number, view in enumerate(picture.views):
            height, width = view.pixels.shape[:2]
            seen = look(self._normalised([view.pixels]), rule, self._run, upsample)
            if number == len(picture.views) // 2:
                parts = [(one.box, self.features_of(one.maps)[0].float()) for one in seen]
                features = stitched(parts, view.content, height, width)
            scores = joined(seen, height, width)
            scores = output_scores(scores, view.content, picture.mask_size, rule, upsample)
            total = scores if total is None else total + scores
        assert total is not None and features is not None
        return total / len(picture.views), features

    @torch.inference_mode()
    def scores(self, picture: Prepared) -> Tensor:
        """What the class map is the argmax of, float32 (C, *mask_size).

        Probabilities; logits for a rule of one whole view, where nothing is averaged.
        """
        if not self.inference.plain:
            return self._look(picture)[0]
        logits = self.forward([picture]).logits.float()
        if self.inference.upsample == "window":
            logits = self.network.upsample(logits, picture.bucket)
            corners = self.inference.align_corners
            size = picture.mask_size
            return F.interpolate(logits, size, mode="bilinear", align_corners=corners)[0]
        return self.network.upsample(logits, picture.mask_size)[0]

    def features_of(self, maps: ParsedMaps) -> Tensor:
        """What pooling averages: the backbone's general map beside the fused map.

        The fused map is averaged to the general map's grid where its stride is smaller.
        Returns (B, h, w, F) in the network's type, on its device, a copy.
        """
        assert maps.general is not None
        fused = maps.fused
        if fused.shape[-2:] != maps.general.shape[-2:]:
            fused = F.adaptive_avg_pool2d(fused, (maps.general.shape[2], maps.general.shape[3]))
        return torch.cat([maps.general, fused], dim=1).permute(0, 2, 3, 1)

    def describe(self, parsed: ParsedPicture) -> Description:
        """Vectors and regions of one parsed picture; runs in any thread."""
        return describe(parsed, len(self.manifest.labels), self.whitening)

    def parse(self, pictures: list[Prepared]) -> list[Description]:
        """Class maps, vectors and regions of pictures of one bucket."""
        return [self.describe(parsed) for parsed in self.infer(pictures)]


def default_threads(share: float = 1.0) -> int:
    """Compute threads for a process that may use this share of the cores it is allowed."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, round((allowed or 1) * share))
