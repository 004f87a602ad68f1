"""3×3 convolutions with a quarter of the multiplications, in float32 on a CPU.

Winograd's minimal filtering F(4×4, 3×3) as in Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", CVPR 2016: a tile of 6×6 inputs gives 4×4 outputs by 36 products a pair of channels instead of 144.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor, nn

Matrix = list[list[float]]

MIN_CHANNELS = 128
"""With fewer, the transforms cost more than the multiplications that they save."""
_TILE, _SEEN = 4, 6
_MAX_ELEMENTS = 1 << 24
"""Transformed inputs held at a time: 64 MB, twice, whatever the size of the map."""

# Equations 17 and 18 of Lavin and Gray; of the weights' transform, see `Winograd`.
_INPUT: Matrix = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WEIGHT: Matrix = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT: Matrix = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


def _both_ways(matrix: Matrix) -> Tensor:
    """The transform along rows and columns as one matrix."""
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one)


class _Scratch(threading.local):
    """Buffers of a thread that all its layers use in turn: fresh ones cost a page fault every 4 KB."""

    def __init__(self) -> None:
        self.held: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        count = torch.Size(shape).numel()
        if name not in self.held or self.held[name].numel() < count:
            self.held[name] = torch.empty(count)
        return self.held[name][:count].view(shape)


_scratch = _Scratch()


def suits(convolution: nn.Conv2d, kind: torch.dtype) -> bool:
    """Whether a convolution is one that `Winograd` computes, and computes sooner than oneDNN."""
    return (
        kind == torch.float32
        and convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.groups == 1
        and convolution.padding == convolution.dilation
        and convolution.dilation[0] == convolution.dilation[1]
        and min(convolution.in_channels, convolution.out_channels) >= MIN_CHANNELS
    )


class Winograd:
    """A convolution for which `suits` holds, without its bias.

    A dilated one is dilation² plain ones, each on every dilation-th row and column. Answers differ from
    the direct sum's by the rounding of float32, about ten times as much of it.

    Attributes:
        weight: G w Gᵀ of each pair of channels, float32 (36, in, out): four times the memory of w.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        both = _both_ways(_WEIGHT)  # (36, 9)
        outputs, inputs = convolution.out_channels, convolution.in_channels
        taps = convolution.weight.detach().permute(2, 3, 1, 0).reshape(9, -1).double()
        self.weight = (both @ taps).float().reshape(_SEEN**2, inputs, outputs)
        self.dilation = int(convolution.dilation[0])
        self.input = _both_ways(_INPUT).float()
        self.output = _both_ways(_OUTPUT).float()

    def __call__(self, x: Tensor) -> Tensor:
        """float32 (B, in, h, w) → (B, out, h, w), channels last."""
        batch, channels, height, width = x.shape
        step = self.dilation
        # Rows and columns of tiles of each of the step² maps.
        down, across = (math.ceil(math.ceil(side / step) / _TILE) for side in (height, width))
        outputs = self.weight.shape[2]
        found = torch.empty(batch, down * _TILE * step, across * _TILE * step, outputs)
        padded = self._padded(x, down, across)
        at_once = max(1, _MAX_ELEMENTS // (_SEEN**2 * step * step * across * channels))
        for number in range(batch):
            for row in range(0, down, at_once):
                rows = min(at_once, down - row)
                reach = slice(row * _TILE * step, (row + rows) * _TILE * step)
                self._tiles(padded[number], row, rows, across, found[number, reach])
        return found[:, :height, :width].permute(0, 3, 1, 2)

    def _padded(self, x: Tensor, down: int, across: int) -> Tensor:
        """Channels behind, the dilation's zeros around, and zeros to whole tiles."""
        batch, channels, height, width = x.shape
        step = self.dilation
        tall, wide = (step * (_TILE * tiles + 2) for tiles in (down, across))
        padded = _scratch.take("padded", batch, tall, wide, channels)
        padded[:, :step].zero_()
        padded[:, step + height :].zero_()
        padded[:, :, :step].zero_()
        padded[:, :, step + width :].zero_()
        padded[:, step : step + height, step : step + width] = x.permute(0, 2, 3, 1)
        return padded

    def _tiles(self, padded: Tensor, row: int, rows: int, across: int, found: Tensor) -> None:
        """Some rows of tiles of one picture, (tall, wide, in), into its part of the answer."""
        step, (_, wide, channels) = self.dilation, padded.shape
        outputs = self.weight.shape[2]
        line = wide * channels
        # Overlapping views: (row in tile, column in tile, tile row, its map, tile column, its map, channel).
        seen = padded[row * _TILE * step :].as_strided(
            (_SEEN, _SEEN, rows, step, across, step, channels),
            (
                step * line,
                step * channels,
                _TILE * step * line,
                line,
                _TILE * step * channels,
                channels,
                1,
            ),
        )
        tiles = rows * step * across * step
        first, second = "tiles", "transformed"
        gathered = _scratch.take(first, *seen.shape).copy_(seen).view(_SEEN**2, -1)
        inputs = _scratch.take(second, _SEEN**2, tiles * channels)
        torch.mm(self.input, gathered, out=inputs)
        products = _scratch.take(first, _SEEN**2, tiles, outputs)
        torch.bmm(inputs.view(_SEEN**2, tiles, channels), self.weight, out=products)
        answers = _scratch.take(second, _TILE**2, tiles * outputs)
        torch.mm(self.output, products.view(_SEEN**2, -1), out=answers)
        shaped = answers.view(_TILE, _TILE, rows, step, across, step, outputs)
        # Pixel (tile row · 4 + row in tile) · step + map, and so for columns.
        found.view(rows, _TILE, step, across, _TILE, step, outputs).copy_(
            shaped.permute(2, 0, 3, 4, 1, 5, 6)
        )
