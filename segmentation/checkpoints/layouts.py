"""The four layouts of published PSPNets: how each calls its weights, and what shape they imply."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from segmentation.errors import CheckpointError
from segmentation.pspnet import NetworkConfig

State = dict[str, Tensor]

_DEPTHS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
}

# place in the stem's sequence → convolution or batch norm, and its number
_STEM = {
    "0": ("conv", 1),
    "1": ("bn", 1),
    "3": ("conv", 2),
    "4": ("bn", 2),
    "6": ("conv", 3),
    "7": ("bn", 3),
}


@dataclass(frozen=True)
class Layout:
    """One code base's way to store a PSPNet.

    Attributes:
        name: what the command line calls it.
        source: whose it is.
        marks: beginnings of keys of which each must occur for the layout to be recognised.
        renames: patterns of this project's keys and what they become there, first match wins.
        left_out: beginnings of keys that only training needs (the auxiliary head).
        network: what the layout fixes in a network and the keys do not tell.
    """

    name: str
    source: str
    marks: tuple[str, ...]
    renames: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
    left_out: tuple[str, ...]
    network: dict[str, Any]

    def key(self, own: str) -> str:
        """What this project's key `own` is called in the layout."""
        for pattern, target in self.renames:
            renamed, count = re.subn(pattern, target, own, count=1)
            if count:
                return renamed
        raise KeyError(own)

    def fits(self, keys: Iterable[str]) -> bool:
        """Whether every mark occurs among the keys."""
        keys = list(keys)
        return all(any(key.startswith(mark) for key in keys) for mark in self.marks)

    def ignores(self, key: str) -> bool:
        """Whether a key may be there without being used."""
        # CSAIL's synchronised batch norm stores its working buffers too.
        buffers = ("num_batches_tracked", "_tmp_running_mean", "_tmp_running_var", "_running_iter")
        return key.startswith(self.left_out) or key.endswith(buffers)


def _numbered_stem(prefix: str) -> Callable[[re.Match[str]], str]:
    def rename(match: re.Match[str]) -> str:
        kind, number = _STEM[match.group(1)]
        return f"{prefix}{kind}{number}."

    return rename


def _flat_block(prefix: str) -> Callable[[re.Match[str]], str]:
    """torchvision nests an inverted residual's convolutions with their batch norms; others do not."""

    def rename(match: re.Match[str]) -> str:
        block, first, second = match.group(1), int(match.group(2)), match.group(3)
        expanded = block != "1"  # the first block has no expanding convolution
        if second is not None:
            place = 3 * first + int(second)
        else:
            place = 3 * (2 if expanded else 1) + first - (2 if expanded else 1)
        return f"{prefix}features.{block}.conv.{place}."

    return rename


def _mobilenet(prefix: str) -> tuple[tuple[str, Callable[[re.Match[str]], str] | str], ...]:
    return (
        (r"^backbone\.features\.(\d+)\.conv\.(\d)\.(?:(\d)\.)?", _flat_block(prefix)),
        (r"^backbone\.features\.", f"{prefix}features."),
    )


MMSEG = Layout(
    "mmseg",
    "OpenMMLab mmsegmentation",
    ("backbone.", "decode_head.psp_modules."),
    (
        (r"^backbone\.stem\.", "backbone.stem."),
        (r"^backbone\.plain_stem\.0\.", "backbone.conv1."),
        (r"^backbone\.plain_stem\.1\.", "backbone.bn1."),
        (r"^backbone\.layer", "backbone.layer"),
        (r"^pyramid\.levels\.(\d)\.0\.", r"decode_head.psp_modules.\1.1.conv."),
        (r"^pyramid\.levels\.(\d)\.1\.", r"decode_head.psp_modules.\1.1.bn."),
        (r"^fuse\.0\.", "decode_head.bottleneck.conv."),
        (r"^fuse\.1\.", "decode_head.bottleneck.bn."),
        (r"^classify\.", "decode_head.conv_seg."),
    ),
    ("auxiliary_head.",),
    {"align_corners": False, "contract": True, "dilate_both": False},
)

SEMSEG = Layout(
    "semseg",
    "hszhao/semseg",
    ("layer0.", "ppm.features.", "cls."),
    (
        (r"^backbone\.(?:plain_)?stem\.", "layer0."),
        (r"^backbone\.layer", "layer"),
        (r"^pyramid\.levels\.(\d)\.0\.", r"ppm.features.\1.1."),
        (r"^pyramid\.levels\.(\d)\.1\.", r"ppm.features.\1.2."),
        (r"^fuse\.", "cls."),
        (r"^classify\.", "cls.4."),
    ),
    ("aux.",),
    {"align_corners": True, "contract": False, "dilate_both": False},
)

CSAIL = Layout(
    "csail",
    "CSAILVision/semantic-segmentation-pytorch",
    ("ppm.", "conv_last."),
    (
        (r"^backbone\.(?:plain_)?stem\.(\d)\.", _numbered_stem("")),
        (r"^backbone\.layer", "layer"),
        *_mobilenet(""),
        (r"^pyramid\.levels\.(\d)\.0\.", r"ppm.\1.1."),
        (r"^pyramid\.levels\.(\d)\.1\.", r"ppm.\1.2."),
        (r"^fuse\.", "conv_last."),
        (r"^classify\.", "conv_last.4."),
    ),
    ("cbr_deepsup.", "conv_last_deepsup.", "fc."),
    {"align_corners": False, "contract": True, "dilate_both": True},
)

BUBBLIIIING = Layout(
    "bubbliiiing",
    "bubbliiiing/pspnet-pytorch",
    ("backbone.", "master_branch."),
    (
        (r"^backbone\.(?:plain_)?stem\.(\d)\.", _numbered_stem("backbone.")),
        (r"^backbone\.layer", "backbone.layer"),
        *_mobilenet("backbone."),
        (r"^pyramid\.levels\.(\d)\.0\.", r"master_branch.0.stages.\1.1."),
        (r"^pyramid\.levels\.(\d)\.1\.", r"master_branch.0.stages.\1.2."),
        (r"^fuse\.", "master_branch.0.bottleneck."),
        (r"^classify\.", "master_branch.1."),
    ),
    ("auxiliary_branch.", "aux_branch."),
    {"align_corners": True, "contract": True, "dilate_both": True, "output_stride": 16},
)

LAYOUTS: dict[str, Layout] = {one.name: one for one in (MMSEG, SEMSEG, CSAIL, BUBBLIIIING)}


def detect(state: State) -> Layout:
    """The layout whose marks all occur; CheckpointError with what is there when none does."""
    for layout in (BUBBLIIIING, MMSEG, SEMSEG, CSAIL):
        if layout.fits(state):
            return layout
    keys = sorted(state)
    if any(key.startswith("decode_head.") for key in keys):
        raise CheckpointError(
            "This is an mmsegmentation checkpoint, but not of a PSPNet: it has no "
            "decode_head.psp_modules. Only PSPNets can be imported."
        )
    if any(key.startswith(("layer1.", "features.")) for key in keys):
        raise CheckpointError(
            "This looks like CSAIL's encoder alone, or a bare backbone. Give the decoder's file "
            "as well: --decoder FILE."
        )
    if any(key.startswith("ppm.") for key in keys):
        raise CheckpointError("This looks like CSAIL's decoder alone: give the encoder's file too.")
    raise CheckpointError(
        f"None of the layouts {', '.join(LAYOUTS)} has keys like these: {', '.join(keys[:4])} …"
    )


class _Shapes:
    """Reads a network's shape off a state, by this project's keys."""

    def __init__(self, layout: Layout, state: State) -> None:
        self.layout, self.state = layout, state

    def find(self, own: str) -> tuple[int, ...] | None:
        """Shape of a tensor, or None where there is none."""
        try:
            tensor = self.state.get(self.layout.key(own))
        except KeyError:
            return None
        return None if tensor is None else tuple(tensor.shape)

    def channels(self, own: str) -> int:
        """Output channels of a convolution that every PSPNet has."""
        shape = self.find(own)
        if not shape:
            raise CheckpointError(
                f"Not a whole PSPNet in {self.layout.source}'s layout: "
                f"{self.layout.key(own)} is missing."
            )
        return shape[0]

    def count(self, pattern: str) -> int:
        """How many tensors there are with the numbers 0, 1, 2 … in the pattern's place."""
        number = 0
        while self.find(pattern.format(number)) is not None:
            number += 1
        return number


def _backbone(shapes: _Shapes) -> dict[str, Any]:
    if shapes.find("backbone.features.0.0.weight") is not None:
        return {"backbone": "mobilenet_v2", "head": False}
    depths = tuple(shapes.count(f"backbone.layer{n}.{{}}.conv1.weight") for n in (1, 2, 3, 4))
    bottleneck = shapes.find("backbone.layer1.0.conv3.weight") is not None
    name = _DEPTHS.get((bottleneck, depths))
    if name is None:
        kind = "bottleneck" if bottleneck else "basic"
        raise CheckpointError(
            f"The backbone has {depths} {kind} blocks; known are {', '.join(_DEPTHS.values())} "
            "and MobileNetV2."
        )
    widths = [shapes.find(f"backbone.stem.{n}.weight") for n in (0, 3, 6)]
    deep = all(widths)
    return {"backbone": name, "stem": tuple(w[0] for w in widths if w) if deep else None}


def network_of(layout: Layout, state: State, **fixed: Any) -> NetworkConfig:
    """The shape that a state implies.

    Args:
        fixed: settings that no key tells, such as the output stride.

    Raises:
        CheckpointError: parts that every PSPNet has are missing, or of no known backbone.
    """
    shapes = _Shapes(layout, state)
    classes = shapes.channels("classify.weight")
    levels = shapes.count("pyramid.levels.{}.0.weight")
    if levels != 4:
        raise CheckpointError(f"The pyramid has {levels} levels; published PSPNets have 4.")
    values = {
        **layout.network,
        **_backbone(shapes),
        "classes": classes,
        "pyramid_width": shapes.channels("pyramid.levels.0.0.weight"),
        "width": shapes.channels("fuse.0.weight"),
        "aux": False,
        **fixed,
    }
    return NetworkConfig(**values)
