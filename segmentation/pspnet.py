"""PSPNet (Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017): the network and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.backbones import Backbone, Dilation, build_backbone
from segmentation.errors import ConfigError


class ParsedMaps(NamedTuple):
    """What the network computes of a batch (h, w: cells of the output stride).

    Attributes:
        logits: (B, classes, h, w), or at stride 4 with a detail head.
        fused: (B, width, h, w) map after pyramid pooling and fusion.
        general: (B, F, h', w') map of the backbone for retrieval, or None when not asked for.
        aux_logits: (B, classes, h, w) of the auxiliary head, only in training mode.
    """

    logits: Tensor
    fused: Tensor
    general: Tensor | None
    aux_logits: Tensor | None


def conv_bn_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution with same padding, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class PyramidPooling(nn.Module):
    """Averages over 1, 2, 3, 6 … bins a side, each narrowed to C/len(bins) and laid beside the input.

    (B, C, h, w) → (B, 2C, h, w), the input's own channels first. Without bins it is the identity.
    `width` sets the channels of each level instead of C/len(bins).
    """

    def __init__(
        self,
        channels: int,
        bins: tuple[int, ...],
        align_corners: bool = False,
        width: int = 0,
    ) -> None:
        super().__init__()
        self.bins = bins
        self.align_corners = align_corners
        width = width or channels // max(1, len(bins))
        self.levels = nn.ModuleList(conv_bn_relu(channels, width, 1) for _ in bins)
        self.out_channels = channels + width * len(bins)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        maps = [x]
        for count, level in zip(self.bins, self.levels, strict=True):
            pooled = level(F.adaptive_avg_pool2d(x, count))
            maps.append(
                F.interpolate(pooled, size, mode="bilinear", align_corners=self.align_corners)
            )
        return torch.cat(maps, dim=1)


class DetailHead(nn.Module):
    """Sharpens the fused map with early maps, so that poles, signs and people keep their outlines.

    The fused map is narrowed, brought to stride 4, laid beside the backbone's maps of stride 4 and 8
    and mixed by two 3×3 convolutions: the decoder of DeepLabv3+ (Chen et al., ECCV 2018) behind a
    pyramid. Published PSPNets have none.
    """

    def __init__(self, fused: int, early: tuple[int, int], width: int, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.narrow = conv_bn_relu(fused, width, 1)
        self.mix = nn.Sequential(
            *conv_bn_relu(width + sum(early), width, 3), *conv_bn_relu(width, width, 3)
        )

    def forward(self, fused: Tensor, early: tuple[Tensor, Tensor]) -> Tensor:
        """(B, fused, h, w) and the two early maps → (B, width, H/4, W/4)."""
        quarter, eighth = early
        size = quarter.shape[-2:]
        coarse = [
            F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)
            for x in (self.narrow(fused), eighth)
        ]
        return cast(Tensor, self.mix(torch.cat([coarse[0], quarter, coarse[1]], dim=1)))


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides the shape of a network; stored in manifests.

    Attributes:
        backbone: one of `segmentation.backbones.BACKBONES`.
        classes: number of classes.
        output_stride: 8, 16 or 32.
        bins: sides of the pyramid's grids.
        pyramid_width: channels of each of its levels; 0 for the backbone's over their number.
        width: channels of the fused map.
        dropout: share of the fused map's channels dropped while training.
        aux: whether there is an auxiliary head.
        align_corners: how the pyramid and the logits are upsampled.
        stem: widths of a deep ResNet stem, or None.
        contract, dilate_both: see `segmentation.backbones.Dilation`.
        head: see `segmentation.backbones.MobileNetV2`.
        branch_at: see `segmentation.backbones.MobileNetV2`.
        detail: width of a `DetailHead`; 0 for none, as published.
    """

    backbone: str
    classes: int
    output_stride: int = 8
    bins: tuple[int, ...] = (1, 2, 3, 6)
    width: int = 512
    dropout: float = 0.1
    aux: bool = True
    align_corners: bool = False
    stem: tuple[int, int, int] | None = None
    branch_at: int | None = None
    detail: int = 0
    pyramid_width: int = 0
    contract: bool = True
    dilate_both: bool = False
    head: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NetworkConfig:
        """Raises ConfigError for settings that no network has."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"unknown network setting {min(unknown)!r}")
        values = dict(values)
        for key in ("bins", "stem"):
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        return cls(**values)


class PSPNet(nn.Module):
    """Backbone, pyramid, fusion, classifier.

    Args:
        config: the shape; see `NetworkConfig`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone: Backbone = build_backbone(
            config.backbone,
            config.output_stride,
            stem=config.stem,
            dilation=Dilation(config.contract, config.dilate_both),
            branch_at=config.branch_at,
            head=config.head,
        )
        channels = self.backbone.out_channels
        self.pyramid = PyramidPooling(
            channels, config.bins, config.align_corners, config.pyramid_width
        )
        self.fuse = conv_bn_relu(self.pyramid.out_channels, config.width, 3)
        self.dropout = nn.Dropout2d(config.dropout)
        self.detail: DetailHead | None = None
        if config.detail:
            self.detail = DetailHead(
                config.width, self.backbone.early_channels, config.detail, config.align_corners
            )
        self.classify = nn.Conv2d(config.detail or config.width, config.classes, 1)
        self.auxiliary: nn.Sequential | None = None
        if config.aux:
            self.auxiliary = nn.Sequential(
                *conv_bn_relu(self.backbone.aux_channels, channels // 4, 3),
                nn.Dropout2d(config.dropout),
                nn.Conv2d(channels // 4, config.classes, 1),
            )

    def forward(self, image: Tensor, general: bool = True) -> ParsedMaps:
        """image: float (B, 3, H, W), normalised as the manifest says; sides ≥ the output stride."""
        maps = self.backbone(image, general=general)
        fused = self.fuse(self.pyramid(maps.last))
        last = self.dropout(fused)
        if self.detail is not None:
            last = self.detail(last, maps.early)
        logits = self.classify(last)
        aux = None
        if self.training and self.auxiliary is not None:
            aux = self.auxiliary(maps.aux)
        return ParsedMaps(logits, fused, maps.general, aux)

    def upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Bilinear upsampling of (B, C, h, w) to (B, C, *size) as this network was trained."""
        return cast(
            Tensor,
            F.interpolate(logits, size, mode="bilinear", align_corners=self.config.align_corners),
        )

    def heads(self) -> list[nn.Module]:
        """The modules that start from random weights, for their own learning rate."""
        found = (self.pyramid, self.fuse, self.detail, self.classify, self.auxiliary)
        return [module for module in found if module is not None]
