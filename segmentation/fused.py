"""The same network, computed faster: for inference only.

Batch norms are folded into the convolutions before them. On a CPU, a convolution with its bias,
activation and residual sum becomes one call of oneDNN with weights laid out for it once, which is what
`torch.compile` would come to after minutes. And the pyramid is no longer widened to a map of thousands
of channels just to be convolved: see `FoldedPyramid`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.backbones import BasicBlock, Bottleneck
from segmentation.errors import ConfigError
from segmentation.pspnet import PSPNet, PyramidPooling

_MAX_SIZES = 8
"""Sizes of maps whose interpolation weights are kept."""


def _conv_norm_pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of a module's children that are called one after the other."""
    if isinstance(module, nn.Sequential):
        yield from pairwise(list(module._modules))
    elif isinstance(module, (BasicBlock, Bottleneck)):
        yield from (("conv1", "bn1"), ("conv2", "bn2"))
        if isinstance(module, Bottleneck):
            yield "conv3", "bn3"


def fuse_batch_norms(network: PSPNet) -> None:
    """Fold every batch norm that follows a convolution into it, in place.

    Exact up to rounding in eval mode (Jacob et al., CVPR 2018, eq. 14), and saves a pass over memory
    for each layer.
    """
    for module in network.modules():
        for first, second in _conv_norm_pairs(module):
            convolution, norm = module._modules[first], module._modules[second]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = nn.utils.fuse_conv_bn_eval(convolution, norm)
                module._modules[first], module._modules[second] = fused, nn.Identity()


def _one_call() -> Any:
    """oneDNN's fused convolution, the one that torch's own compiler calls; None where there is none."""
    available = torch.backends.mkldnn.is_available()
    return getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if available else None


class FusedConv(nn.Module):
    """Convolution, bias, optional residual sum and activation in one call, on a CPU.

    Args:
        convolution: with its batch norm folded, in the type it will run in.
        activation: None, ReLU or ReLU6.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.where = [
            [int(n) for n in cast(tuple[int, int], getattr(convolution, name))]
            for name in ("padding", "stride", "dilation")
        ]
        self.groups = convolution.groups
        self.kind = "none" if activation is None else "relu"
        self.limits: list[float] = []
        if isinstance(activation, nn.ReLU6):
            self.kind, self.limits = "hardtanh", [0.0, 6.0]
        self.bias = convolution.bias
        # A plain attribute: an opaque layout cannot be moved or converted as parameters are.
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight.detach(), *self.where, self.groups
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.packed, self.bias, *self.where, self.groups, self.kind, self.limits, ""
        )
        return found

    def onto(self, x: Tensor, other: Tensor) -> Tensor:
        """ReLU of the convolution plus `other`."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x,
            other,
            self.packed,
            self.bias,
            *self.where,
            self.groups,
            "add",
            1.0,
            "relu",
            [],
            "",
        )
        return found


class FusedBlock(nn.Module):
    """A residual block of two or three fused convolutions; the last adds the shortcut."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        self.first = FusedConv(block.conv1, block.relu)
        self.second: FusedConv | None = None
        if isinstance(block, Bottleneck):
            self.second = FusedConv(block.conv2, block.relu)
        self.last = FusedConv(block.conv3 if isinstance(block, Bottleneck) else block.conv2)
        self.downsample = block.downsample
        if self.downsample is not None:
            fuse_calls(self.downsample)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.first(x)
        if self.second is not None:
            inner = self.second(inner)
        return self.last.onto(inner, shortcut)


def _fuse_sequence(sequence: nn.Sequential) -> None:
    """Convolution, then (folded norm, then) activation: the first does it all, the rest nothing."""
    names = list(sequence._modules)
    for place, name in enumerate(names):
        convolution = sequence._modules[name]
        if not isinstance(convolution, nn.Conv2d):
            continue
        following = names[place + 1 : place + 3]
        while following and isinstance(sequence._modules[following[0]], nn.Identity):
            following.pop(0)
        activation = sequence._modules[following[0]] if following else None
        if isinstance(activation, (nn.ReLU, nn.ReLU6)):
            sequence._modules[following[0]] = nn.Identity()
        else:
            activation = None
        sequence._modules[name] = FusedConv(convolution, activation)


def fuse_calls(module: nn.Module) -> None:
    """Replace convolutions below `module` by `FusedConv`, and residual blocks by `FusedBlock`."""
    for name, child in list(module.named_children()):
        if isinstance(child, (BasicBlock, Bottleneck)):
            module._modules[name] = FusedBlock(child)
        else:
            fuse_calls(child)
    if isinstance(module, nn.Sequential):
        _fuse_sequence(module)


class FoldedPyramid(nn.Module):
    """Pyramid pooling and the 3×3 convolution behind it, without ever making the map between them.

    That convolution reads the backbone's map and, beside it, each level's few bins stretched over the
    whole map. Stretching is linear: a pixel of level l is Σ_b U[pixel, b] · P[b], and the convolution
    of it Σ_tap Σ_b U[pixel + tap, b] · (W_tap P[b]). So the weights are applied to the 50 bins first
    and stretched afterwards: for ResNet-50 at 60×60 cells 2 instead of 68 GFLOP, with equal results
    up to rounding.

    Args:
        pyramid, fuse: of a `PSPNet` with folded batch norms. `fuse` is a convolution and a ReLU.
    """

    def __init__(self, pyramid: PyramidPooling, fuse: nn.Sequential) -> None:
        super().__init__()
        if not isinstance(fuse[1], nn.Identity):
            raise ConfigError("fold batch norms before the pyramid")
        convolution = cast(nn.Conv2d, fuse[0])
        weight = convolution.weight.detach()
        self.bins, self.align_corners = pyramid.bins, pyramid.align_corners
        self.levels = pyramid.levels
        channels = weight.shape[1] - sum(cast(Any, level)[0].out_channels for level in self.levels)
        self.own = nn.Conv2d(channels, weight.shape[0], 3, padding=1)
        self.own.weight = nn.Parameter(weight[:, :channels].clone(), requires_grad=False)
        self.own.bias = convolution.bias
        self.fused: FusedConv | None = None
        taps = weight[:, channels:].permute(1, 2, 3, 0).flatten(1)  # (levels' channels, 9 · out)
        start = 0
        for number, level in enumerate(self.levels):
            width = cast(Any, level)[0].out_channels
            part = taps[start : start + width].contiguous()
            self.register_buffer(f"taps{number}", part, persistent=False)
            start += width
        self._stretches: OrderedDict[tuple[int, int], Tensor] = OrderedDict()

    def pack(self) -> None:
        """Use oneDNN's fused calls from now on; after the last change of type."""
        for level in self.levels:
            fuse_calls(level)
        self.fused = FusedConv(self.own)
        self.own.weight = nn.Parameter(self.own.weight[:, :0], requires_grad=False)  # let go of

    def _stretch(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """U for all levels and taps, (h · w, 9 · bins), for a map of `size`."""
        found = self._stretches.pop(size, None)
        if found is None:
            found = torch.cat([self._taps(bins, size) for bins in self.bins], dim=1).to(like)
        self._stretches[size] = found
        if len(self._stretches) > _MAX_SIZES:
            self._stretches.popitem(last=False)
        return found

    def _taps(self, bins: int, size: tuple[int, int]) -> Tensor:
        one_hot = torch.eye(bins * bins).reshape(1, -1, bins, bins)
        wide = F.interpolate(one_hot, size, mode="bilinear", align_corners=self.align_corners)
        around = F.unfold(wide, 3, padding=1)  # (1, bins² · 9, h · w), a bin's nine taps together
        return around.reshape(bins * bins, 9, -1).permute(2, 1, 0).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        rows = []
        for number, (bins, level) in enumerate(zip(self.bins, self.levels, strict=True)):
            pooled = level(F.adaptive_avg_pool2d(x, bins)).flatten(2).transpose(1, 2)
            applied = pooled @ getattr(self, f"taps{number}")  # (B, bins², 9 · out)
            taps = applied.reshape(batch, bins * bins, 9, -1).transpose(1, 2)
            rows.append(taps.reshape(batch, 9 * bins * bins, -1))
        stretched = self._stretch((height, width), x) @ torch.cat(rows, dim=1)
        # (B, h · w, out) seen as (B, out, h, w) is channels last already.
        other = stretched.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
        if self.fused is not None:
            return self.fused.onto(x, other)
        return torch.relu(self.own(x) + other)

    def saved_flop(self, cells: int) -> int:
        """Floating-point operations that a map of so many cells needs less than published."""
        bins = sum(count * count for count in self.bins)
        weights = sum(getattr(self, f"taps{n}").numel() for n in range(len(self.bins)))
        applied = sum(
            2 * count * count * getattr(self, f"taps{n}").numel()
            for n, count in enumerate(self.bins)
        )
        return 2 * cells * weights - applied - 2 * cells * 9 * bins * self.own.out_channels


def fold_pyramid(network: PSPNet) -> FoldedPyramid | None:
    """Replace a network's pyramid and fusion in place; None where that gains nothing.

    At stride 16 the map has a quarter of the cells, and the plain way is as quick.
    """
    if network.config.output_stride != 8 or not network.config.bins:
        return None
    folded = FoldedPyramid(network.pyramid, network.fuse)
    network._modules["pyramid"], network._modules["fuse"] = folded, nn.Identity()
    return folded


def speed_up(network: PSPNet) -> None:
    """Make a network quick on the CPU it is on, in its present type, in place."""
    if _one_call() is None:
        return
    folded = network._modules["pyramid"]
    if isinstance(folded, FoldedPyramid):
        folded.pack()
        network._modules["pyramid"] = None  # its levels are done; the rest follows
        fuse_calls(network)
        network._modules["pyramid"] = folded
    else:
        fuse_calls(network)
    network._modules["classify"] = FusedConv(network.classify)
