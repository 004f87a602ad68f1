"""Backbones: from an image to the maps that the pyramid, the auxiliary head and retrieval read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import mobilenet_v2

from segmentation.errors import ConfigError


class BackboneMaps(NamedTuple):
    """What a backbone computes of a batch.

    Attributes:
        aux: (B, A, h, w) map of the last-but-one stage, for the auxiliary head.
        last: (B, C, h, w) map of the last stage, for the pyramid.
        early: (B, E4, H/4, W/4) and (B, E8, H/8, W/8) maps, for a detail head.
        general: (B, F, h', w') map whose means describe pictures for retrieval, or None.
    """

    aux: Tensor
    last: Tensor
    early: tuple[Tensor, Tensor]
    general: Tensor | None


class Backbone(nn.Module):
    """Common face of all backbones.

    Attributes:
        aux_channels, out_channels, general_channels: widths of those maps.
        early_channels: E4 and E8.
        output_stride: input pixels per cell of `last`.
    """

    aux_channels: int
    out_channels: int
    general_channels: int
    early_channels: tuple[int, int]
    output_stride: int

    def forward(self, image: Tensor, general: bool = True) -> BackboneMaps:
        """image: (B, 3, H, W) normalised; `general=False` leaves out the retrieval map."""
        raise NotImplementedError

    def trainable_blocks(self) -> Iterator[nn.Module]:
        """The blocks a training run may change; the rest stays as it was pretrained."""
        yield self


def _check_stride(output_stride: int) -> None:
    if output_stride not in (8, 16, 32):
        raise ConfigError(f"output_stride is 8, 16 or 32, not {output_stride}")


class Dilation(NamedTuple):
    """How a ResNet's strides become dilations; published PSPNets differ in it.

    Attributes:
        contract: the first block of a dilated stage keeps the dilation that its input had.
        both: in a basic block the second 3×3 convolution is dilated too.
    """

    contract: bool = True
    both: bool = False


# --- ResNet ------------------------------------------------------------------------------------


def _conv3x3(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut (He et al., CVPR 2016), for ResNet-18 and 34."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, width, stride, dilations[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilations[1])
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return cast(Tensor, self.relu(self.bn2(self.conv2(x)) + shortcut))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions with a shortcut; the stride sits on the 3×3 (ResNet-50, 101)."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, dilations[0])
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return cast(Tensor, self.relu(self.bn3(self.conv3(x)) + shortcut))


def _plain_stem() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
    )


def _deep_stem(widths: tuple[int, int, int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for position, width in enumerate(widths):
        layers += [
            _conv3x3(inputs, width, stride=2 if position == 0 else 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
    return nn.Sequential(*layers)


class ResNet(Backbone):
    """ResNet with dilated last stages instead of strides.

    Stages keep torchvision's names (`layer1` … `layer4`).

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: blocks per stage.
        output_stride: 8, 16 or 32 (nothing dilated).
        stem: widths of a deep 3×3 stem ("V1c"), or None for the 7×7 of torchvision.
        dilation: which convolutions of the late stages are dilated.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        output_stride: int = 8,
        stem: tuple[int, int, int] | None = None,
        dilation: Dilation | None = None,
    ) -> None:
        super().__init__()
        _check_stride(output_stride)
        self.output_stride = output_stride
        self.dilation = dilation or Dilation()
        self.stem = _plain_stem() if stem is None else _deep_stem(stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self._inputs = 64 if stem is None else stem[-1]
        strides = {8: (1, 2, 1, 1), 16: (1, 2, 2, 1), 32: (1, 2, 2, 2)}[output_stride]
        dilations = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2), 32: (1, 1, 1, 1)}[output_stride]
        for index, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True)):
            stage = self._stage(block, width, depth, strides[index], dilations[index])
            self.add_module(f"layer{index + 1}", stage)
        self.aux_channels = 256 * block.expansion
        self.out_channels = self.general_channels = 512 * block.expansion
        self.early_channels = (64 * block.expansion, 128 * block.expansion)

    def _stage(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        width: int,
        depth: int,
        stride: int,
        dilation: int,
    ) -> nn.Sequential:
        outputs = width * block.expansion
        downsample: nn.Module | None = None
        if stride != 1 or self._inputs != outputs:
            downsample = nn.Sequential(
                nn.Conv2d(self._inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        entering = max(1, dilation // 2) if self.dilation.contract else dilation
        second = dilation if self.dilation.both else 1
        first = block(self._inputs, width, stride, (entering, second), downsample)
        rest = [block(outputs, width, 1, (dilation, second), None) for _ in range(depth - 1)]
        self._inputs = outputs
        return nn.Sequential(first, *rest)

    def forward(self, image: Tensor, general: bool = True) -> BackboneMaps:
        x = self.maxpool(self.stem(image))
        quarter = self.get_submodule("layer1")(x)
        eighth = self.get_submodule("layer2")(quarter)
        aux = self.get_submodule("layer3")(eighth)
        last = self.get_submodule("layer4")(aux)
        return BackboneMaps(aux, last, (quarter, eighth), last if general else None)


# --- MobileNetV2 -------------------------------------------------------------------------------

_QUARTER_BLOCK, _EIGHTH_BLOCK = 3, 6  # last blocks at stride 4 (24 channels) and 8 (32 channels)
_AUX_BLOCK = 13  # last block of 96 channels, the last-but-one stage
_LAST_BLOCK = 17  # last inverted residual, 320 channels; 18 is the 1×1 convolution to 1280


def _dilate(blocks: dict[int, nn.Module], output_stride: int) -> None:
    """Turn the strides of MobileNetV2's late stages into dilations, in place (contracted)."""
    first_dilated: tuple[int, ...] = {8: (7, 14), 16: (14,), 32: ()}[output_stride]
    dilation = 1
    for index in sorted(blocks):
        entering = dilation
        if index in first_dilated:
            dilation *= 2
        for module in blocks[index].modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                if index in first_dilated:
                    module.stride = (1, 1)
                rate = entering if index in first_dilated else dilation
                module.dilation = module.padding = (rate, rate)


class MobileNetV2(Backbone):
    """MobileNetV2 (Sandler et al., CVPR 2018) with dilated late stages and an untouched twin of them.

    A small labelled set makes a fine-tuned backbone forget what retrieval needs. So the blocks from
    `branch_at` on exist twice: `parser` ones, which learn to parse, and the pretrained ones in
    `features`, which stay as they are and give the general map through the 1×1 convolution to 1280
    channels. Blocks before `branch_at` are shared and frozen. `features` keeps torchvision's keys.

    Args:
        output_stride: 8 or 16, of the parser's blocks. The general map always has stride 16.
        branch_at: first doubled block (7 or 14 are stage borders), or None: nothing is doubled and
            every block is the parser's.
        head: whether the 1×1 convolution to 1280 channels is there. Published PSPNets drop it; the
            general map is then that of the last block. A twin needs it.
    """

    aux_channels = 96
    out_channels = 320
    early_channels = (24, 32)

    def __init__(
        self, output_stride: int = 16, branch_at: int | None = 7, head: bool = True
    ) -> None:
        super().__init__()
        _check_stride(output_stride)
        if not head and branch_at is not None:
            raise ConfigError("branch_at needs the head")
        if branch_at is not None and not (
            1 <= branch_at <= (7 if output_stride == 8 else _AUX_BLOCK + 1)
        ):
            raise ConfigError(f"branch_at={branch_at} does not go with stride {output_stride}")
        self.output_stride = output_stride
        self.branch_at = branch_at
        self.features = mobilenet_v2(weights=None).features
        self.general_channels = 1280 if head else self.out_channels
        if not head:
            self.features = self.features[:-1]
        blocks = dict(enumerate(self.features))
        if branch_at is None:
            _dilate(blocks, output_stride)
            return
        _dilate(blocks, 16)
        late = {
            i: mobilenet_v2(weights=None).features[i] for i in range(branch_at, _LAST_BLOCK + 1)
        }
        _dilate({i: late.get(i, nn.Identity()) for i in range(_LAST_BLOCK + 1)}, output_stride)
        self.parser = nn.ModuleDict({str(index): block for index, block in late.items()})

    def reset_parser(self) -> None:
        """Start the parser's blocks from the pretrained ones."""
        if self.branch_at is not None:
            for index, block in self.parser.items():
                block.load_state_dict(self.features[int(index)].state_dict())

    def trainable_blocks(self) -> Iterator[nn.Module]:
        if self.branch_at is None:
            yield self
        else:
            yield from self.parser.values()

    def _parser_block(self, index: int) -> nn.Module:
        if self.branch_at is None or index < self.branch_at:
            return self.features[index]
        return self.parser[str(index)]

    def forward(self, image: Tensor, general: bool = True) -> BackboneMaps:
        x = shared = aux = quarter = eighth = image
        for index in range(_LAST_BLOCK + 1):
            if index == self.branch_at:
                shared = x
            x = self._parser_block(index)(x)
            if index == _QUARTER_BLOCK:
                quarter = x
            elif index == _EIGHTH_BLOCK:
                eighth = x
            elif index == _AUX_BLOCK:
                aux = x
        described: Tensor | None = None
        if general and len(self.features) == _LAST_BLOCK + 1:
            described = x
        elif general and self.branch_at is None:
            described = self.features[_LAST_BLOCK + 1](x)
        elif general:
            described = self.features[self.branch_at :](shared)
        return BackboneMaps(aux, x, (quarter, eighth), described)


_RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}

BACKBONES = (*_RESNETS, "mobilenet_v2")


def build_backbone(
    name: str,
    output_stride: int,
    *,
    stem: tuple[int, int, int] | None = None,
    dilation: Dilation | None = None,
    branch_at: int | None = None,
    head: bool = True,
) -> Backbone:
    """Backbone `name` of `BACKBONES`, with random weights; ConfigError for an unknown name."""
    if name == "mobilenet_v2":
        return MobileNetV2(output_stride, branch_at, head)
    if name not in _RESNETS:
        raise ConfigError(f"unknown backbone {name!r}; known are {', '.join(BACKBONES)}")
    block, depths = _RESNETS[name]
    return ResNet(block, depths, output_stride, stem, dilation)


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep all running statistics below `module`: small batches would spoil them."""

    def to_eval(child: nn.Module) -> None:
        if isinstance(child, nn.BatchNorm2d):
            child.eval()

    module.apply(cast(Callable[[nn.Module], None], to_eval))


def count_parameters(module: nn.Module) -> int:
    """Number of scalars in all parameters, trained or not."""
    return sum(parameter.numel() for parameter in module.parameters())


def load_pretrained(backbone: Backbone, state: dict[str, torch.Tensor]) -> None:
    """Load classification weights with torchvision's key names; the classifier's are left out.

    Raises:
        ConfigError: when keys that the backbone needs are missing.
    """
    if isinstance(backbone, ResNet):
        stem = {"conv1.": "stem.0.", "bn1.": "stem.1."}
        for old, new in stem.items():
            state = {
                key.replace(old, new, 1) if key.startswith(old) else key: value
                for key, value in state.items()
            }
    wanted = {key for key in backbone.state_dict() if not key.startswith("parser.")}
    missing = {key for key in wanted - set(state) if not key.endswith("num_batches_tracked")}
    if missing:
        raise ConfigError(f"pretrained weights lack {len(missing)} keys, first {min(missing)!r}")
    backbone.load_state_dict({key: state[key].float() for key in wanted & set(state)}, strict=False)
    if isinstance(backbone, MobileNetV2):
        backbone.reset_parser()
