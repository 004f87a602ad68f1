"""Pyramid pooling folded into the convolution behind it, and the whole network made quick.

The pyramid is no longer widened to a map of thousands of channels just to be convolved.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmentation.errors import ConfigError
from segmentation.fused import FineClassifier, FusedConv, fuse_calls, one_call
from segmentation.pspnet import PSPNet, PyramidPooling

_MAX_SIZES = 8
"""Sizes of maps whose interpolation weights are kept."""


class Grids(NamedTuple):
    """What a pyramid needs to know of a map's size (h, w).

    Attributes:
        members: (bins of all levels, h · w), 1 where a cell belongs to a bin.
        sizes: (bins, 1), cells of each bin.
        stretch: U for all levels and taps, (h · w, 9 · bins); see `FoldedPyramid`.
    """

    members: Tensor
    sizes: Tensor
    stretch: Tensor


def _members(bins: int, size: tuple[int, int]) -> Tensor:
    """Which cells adaptive average pooling takes for each bin, (bins², h · w) of 0 and 1.

    Bin i of n reaches from ⌊i · length / n⌋ to ⌈(i + 1) · length / n⌉, so neighbours may overlap.
    """
    number = torch.arange(bins)
    rows, columns = (
        (torch.arange(length) >= (number * length // bins)[:, None])
        & (torch.arange(length) < (-(-(number + 1) * length // bins))[:, None])
        for length in size
    )
    return torch.kron(rows.float(), columns.float())


def _as_linear(convolution: nn.Conv2d) -> nn.Linear:
    """A 1×1 convolution for rows of channels."""
    outputs, inputs = convolution.out_channels, convolution.in_channels
    linear = nn.Linear(inputs, outputs, bias=convolution.bias is not None, device="meta")
    linear.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
    if convolution.bias is not None:
        linear.bias = nn.Parameter(convolution.bias.detach(), requires_grad=False)
    return linear


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
        narrowing = [cast(nn.Conv2d, cast(Any, level)[0]) for level in pyramid.levels]
        self.levels = nn.ModuleList(_as_linear(one) for one in narrowing)
        channels = weight.shape[1] - sum(one.out_channels for one in narrowing)
        self.own = nn.Conv2d(channels, weight.shape[0], 3, padding=1)
        self.own.weight = nn.Parameter(weight[:, :channels].clone(), requires_grad=False)
        self.own.bias = convolution.bias
        self.fused: FusedConv | None = None
        taps = weight[:, channels:].permute(1, 2, 3, 0).flatten(1)  # (levels' channels, 9 · out)
        start = 0
        for number, level in enumerate(narrowing):
            part = taps[start : start + level.out_channels].contiguous()
            self.register_buffer(f"taps{number}", part, persistent=False)
            start += level.out_channels
        self.prepared: OrderedDict[tuple[int, int], Grids] = OrderedDict()

    def pack(self, kind: torch.dtype) -> None:
        """Use oneDNN's fused calls from now on, in the type `kind`."""
        self.fused = FusedConv(self.own, kind, summed=True)
        self.own.weight = nn.Parameter(self.own.weight[:, :0], requires_grad=False)  # let go of

    def _grids(self, size: tuple[int, int], like: Tensor) -> Grids:
        found = self.prepared.pop(size, None)
        if found is None:
            members = torch.cat([_members(bins, size) for bins in self.bins])
            stretch = torch.cat([self._taps(bins, size) for bins in self.bins], dim=1)
            found = Grids(members.to(like), members.sum(1)[:, None].to(like), stretch.to(like))
        self.prepared[size] = found
        if len(self.prepared) > _MAX_SIZES:
            self.prepared.popitem(last=False)
        return found

    def _taps(self, bins: int, size: tuple[int, int]) -> Tensor:
        one_hot = torch.eye(bins * bins).reshape(1, -1, bins, bins)
        wide = F.interpolate(one_hot, size, mode="bilinear", align_corners=self.align_corners)
        around = F.unfold(wide, 3, padding=1)  # (1, bins² · 9, h · w), a bin's nine taps together
        return around.reshape(bins * bins, 9, -1).permute(2, 1, 0).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        grids = self._grids((height, width), x)
        cells = x.permute(0, 2, 3, 1).reshape(batch, -1, channels)
        pooled = (grids.members @ cells) / grids.sizes  # all levels' bins in one product
        rows, start = [], 0
        for number, (bins, level) in enumerate(zip(self.bins, self.levels, strict=True)):
            narrowed = torch.relu(level(pooled[:, start : start + bins * bins]))
            applied = narrowed @ getattr(self, f"taps{number}")  # (B, bins², 9 · out)
            taps = applied.reshape(batch, bins * bins, 9, -1).transpose(1, 2)
            rows.append(taps.reshape(batch, 9 * bins * bins, -1))
            start += bins * bins
        stretched = grids.stretch @ torch.cat(rows, dim=1)
        # (B, h · w, out) seen as (B, out, h, w) is channels last already.
        other = stretched.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
        if self.fused is not None:
            return self.fused.onto(x, other)
        return torch.relu(self.own(x) + other)

    def stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """What the plain pyramid would have made on the way, to look at.

        Returns:
            The levels' maps, (B, width, bins, bins) each, and the map that the convolution behind
            them reads, (B, C + widths, h, w).
        """
        levels, size = [], (x.shape[2], x.shape[3])
        for bins, level in zip(self.bins, self.levels, strict=True):
            pooled = F.adaptive_avg_pool2d(x, bins).permute(0, 2, 3, 1)
            levels.append(torch.relu(level(pooled)).permute(0, 3, 1, 2))
        wide = [
            F.interpolate(one, size, mode="bilinear", align_corners=self.align_corners)
            for one in levels
        ]
        return levels, torch.cat([x, *wide], dim=1)

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


def speed_up(network: PSPNet, kind: torch.dtype) -> None:
    """Make a float32 network run in `kind`, quickly on a CPU, in place. Logits stay float32."""
    if one_call() is None or next(network.parameters()).device.type != "cpu":
        network.to(kind)
        network._modules["classify"] = FineClassifier(network.classify, kind)
        return
    folded = network._modules["pyramid"]
    if isinstance(folded, FoldedPyramid):
        folded.pack(kind)
        network._modules["pyramid"] = None  # its levels are done; the rest follows
        fuse_calls(network, kind)
        network._modules["pyramid"] = folded
    else:
        fuse_calls(network, kind)
    network._modules["classify"] = FineClassifier(network.classify, kind)
    network.to(kind)  # what is left; a fused call's tensors are no parameters
