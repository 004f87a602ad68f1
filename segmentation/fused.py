"""The same network, computed faster: for inference only.

Batch norms are folded into the convolutions before them. On a CPU, a convolution with its bias,
activation and residual sum becomes one call of oneDNN with weights laid out for it once, which is what
`torch.compile` would come to after minutes. `segmentation.folded` puts it together.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from segmentation.backbones import BasicBlock, Bottleneck
from segmentation.pspnet import PSPNet
from segmentation.winograd import Winograd, suits


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


def one_call() -> Any:
    """oneDNN's fused convolution, the one that torch's own compiler calls; None where there is none."""
    available = torch.backends.mkldnn.is_available()
    return getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if available else None


class FusedConv(nn.Module):
    """Convolution, bias, optional residual sum and activation in one call, on a CPU.

    Args:
        convolution: with its batch norm folded, float32.
        kind: type it will run in. Its bias stays float32 unless summed: oneDNN adds it before rounding.
        activation: None, ReLU or ReLU6.
        summed: it will be called as `onto`, never as it is.
    """

    def __init__(
        self,
        convolution: nn.Conv2d,
        kind: torch.dtype,
        activation: nn.Module | None = None,
        summed: bool = False,
    ) -> None:
        super().__init__()
        self.where = [
            [int(n) for n in cast(tuple[int, int], getattr(convolution, name))]
            for name in ("padding", "stride", "dilation")
        ]
        self.groups = convolution.groups
        self.then = "none" if activation is None else "relu"
        self.limits: list[float] = []
        if isinstance(activation, nn.ReLU6):
            self.then, self.limits = "hardtanh", [0.0, 6.0]
        weight = convolution.weight.detach().to(kind)
        # A 1×1 convolution is a product of matrices, and oneDNN's product is a third quicker.
        single = (1, 1) == convolution.kernel_size == convolution.stride
        product = single and self.groups == 1 and weight.dtype == torch.bfloat16
        # Plain attributes: they must not be moved or converted as parameters are.
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        if self.bias is not None and summed:  # oneDNN's sums want all in one type
            self.bias = self.bias.to(kind)
        self.packed: Tensor | None = None
        self.matrix: Tensor | None = None
        self.quick: Winograd | None = None
        if suits(convolution, kind) and self.then in ("none", "relu"):
            self.quick = Winograd(convolution)
        elif product and not summed:
            self.matrix = torch.ops.mkldnn._reorder_linear_weight(weight.flatten(1), None)
        else:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(
                weight, *self.where, self.groups
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix is not None:
            return self._product(x)
        if self.quick is not None:
            answer = self._with_bias(self.quick(x))
            return answer.relu_() if self.then == "relu" else answer
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.packed, self.bias, *self.where, self.groups, self.then, self.limits, ""
        )
        return found

    def _product(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        found = torch.ops.mkldnn._linear_pointwise(
            rows, self.matrix, self.bias, self.then, self.limits, ""
        )
        # (B · h · w, out) seen as (B, out, h, w) is channels last already.
        seen: Tensor = found.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
        return seen

    def _with_bias(self, answer: Tensor) -> Tensor:
        return answer if self.bias is None else answer.add_(self.bias[:, None, None])

    def onto(self, x: Tensor, other: Tensor) -> Tensor:
        """ReLU of the convolution plus `other`, written over `other`: it is read and written once."""
        if self.quick is not None:
            return other.add_(self._with_bias(self.quick(x))).relu_()
        found: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            other,
            x,
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


class FineClassifier(nn.Module):
    """The last 1×1 convolution with its logits in float32, whatever type the network runs in.

    A logit of 10 rounded to bfloat16 is off by up to 1/32, and by that alone 3 % of the pixels of a
    network with 150 undecided classes change sides. Sums are kept in float32 until they are written,
    so on a CPU a second product that starts from minus the first one's answer gives what rounding
    took: two quick products in bfloat16 instead of a slow one in float32.
    """

    def __init__(self, convolution: nn.Conv2d, kind: torch.dtype) -> None:
        super().__init__()
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        weight = convolution.weight.detach().to(kind)
        self.matrix: Tensor | None = None
        self.plain: nn.Conv2d | None = None
        if kind == torch.bfloat16 and weight.device.type == "cpu" and one_call():
            self.matrix = torch.ops.mkldnn._reorder_linear_weight(weight.flatten(1), None)
        else:
            self.plain = convolution.float()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → float32 (B, classes, h, w)."""
        if self.plain is not None:
            exact: Tensor = self.plain(x.float())
            return exact
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        first = torch.ops.mkldnn._linear_pointwise(rows, self.matrix, None, "none", [], "")
        rest = torch.ops.mkldnn._linear_pointwise.binary(
            rows, first.neg(), self.matrix, None, "add"
        )
        logits = first.float() + rest
        if self.bias is not None:
            logits += self.bias
        return logits.reshape(x.shape[0], x.shape[2], x.shape[3], -1).permute(0, 3, 1, 2)


class FusedBlock(nn.Module):
    """A residual block of two or three fused convolutions; the last adds the shortcut.

    The sum is written over the shortcut, be it the block's input: within a stage nobody else reads
    that, and a stage that begins with other widths makes its own.
    """

    def __init__(self, block: BasicBlock | Bottleneck, kind: torch.dtype) -> None:
        super().__init__()
        self.first = FusedConv(block.conv1, kind, block.relu)
        self.second: FusedConv | None = None
        if isinstance(block, Bottleneck):
            self.second = FusedConv(block.conv2, kind, block.relu)
        last = block.conv3 if isinstance(block, Bottleneck) else block.conv2
        self.last = FusedConv(last, kind, summed=True)
        self.downsample = block.downsample
        if self.downsample is not None:
            fuse_calls(self.downsample, kind)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.first(x)
        if self.second is not None:
            inner = self.second(inner)
        return self.last.onto(inner, shortcut)


def _fuse_sequence(sequence: nn.Sequential, kind: torch.dtype) -> None:
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
        sequence._modules[name] = FusedConv(convolution, kind, activation)


def fuse_calls(module: nn.Module, kind: torch.dtype) -> None:
    """Replace convolutions below `module` by `FusedConv`, and residual blocks by `FusedBlock`."""
    for name, child in list(module.named_children()):
        if isinstance(child, (BasicBlock, Bottleneck)):
            module._modules[name] = FusedBlock(child, kind)
        else:
            fuse_calls(child, kind)
    if isinstance(module, nn.Sequential):
        _fuse_sequence(module, kind)
