"""Batches through a network one after the other; only masks and vectors come back from the device.

While a batch is computed, the next one is copied to the device. Class maps, areas, layout and the pooling
of features happen there. Regions are found on the CPU from the class map, as connected components are
quick there, and what goes up again is each region's share of each cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmentation.describe import (
    GRID,
    Description,
    assembled,
    occupancy_of,
    segments_of,
)
from segmentation.graphs import Graphs
from segmentation.predict import Parser, Prepared
from segmentation.uploads import Uploads


def cell_counts(mask: Tensor, classes: int) -> Tensor:
    """Pixels of each class in each of 8 × 8 cells, int32 (64, classes), on the mask's device."""
    height, width = mask.shape
    rows = torch.arange(height, device=mask.device) * GRID // height
    columns = torch.arange(width, device=mask.device) * GRID // width
    keys = (rows[:, None] * GRID + columns) * classes + mask.long()
    counts = torch.zeros(GRID * GRID * classes, dtype=torch.int32, device=mask.device)
    ones = torch.ones(1, dtype=torch.int32, device=mask.device).expand(keys.numel())
    return counts.scatter_add_(0, keys.flatten(), ones).view(GRID * GRID, classes)


class _Launched(NamedTuple):
    """A batch on its way; `masks` and `counts` are on the CPU once `done`."""

    masks: list[Tensor]
    counts: list[Tensor]
    confidence: list[Tensor]
    features: list[Tensor]
    done: Any


class DevicePicture:
    """A parsed picture whose features stayed on the device.

    Attributes:
        mask: uint8 (h, w) class map.
    """

    def __init__(self, stream: Stream, launched: _Launched, number: int) -> None:
        self.mask: NDArray[np.uint8] = launched.masks[number].numpy()
        self._counts = launched.counts[number].numpy()
        self._confidence, self._features = launched.confidence[number], launched.features[number]
        self._stream, self._done = stream, launched.done

    def describe(self) -> Description:
        """Vectors and regions; runs in any thread, beside the network's next batch."""
        segments = segments_of(self.mask)
        count = len(segments.classes)
        with self._stream.aside(self._done):
            features = self._pooled(self._features, segments.numbers, count)
            confidences = self._pooled(self._confidence[..., None], segments.numbers, count)
            projected = self._stream.whitened(features).cpu().numpy()
            confident = confidences[:, 0].cpu().numpy()
        return assembled(self.mask, segments, projected, confident, self._counts)

    def _pooled(self, values: Tensor, numbers: NDArray[np.int32], count: int) -> Tensor:
        grid = (values.shape[0], values.shape[1])
        shares = torch.from_numpy(occupancy_of(numbers, count, grid)).to(values.device)
        return (shares @ values.reshape(-1, values.shape[2]).float()) / shares.sum(1, keepdim=True)


class Stream:
    """Parses batch after batch.

    Args:
        parser: whose network runs, and on whose device.
        recorded: whether each size of batch is recorded once (see `Graphs`); on CUDA by default.
    """

    def __init__(self, parser: Parser, recorded: bool | None = None) -> None:
        self.parser, device = parser, parser.device
        self.cuda = device.type == "cuda"
        self._uploads = Uploads(device)
        record = self.cuda if recorded is None else recorded
        self._network: Any = Graphs(parser.network) if record else parser.network
        self._aside = torch.cuda.Stream(device, priority=-1) if self.cuda else None
        whitening = parser.whitening
        self._mean = torch.from_numpy(whitening.mean).to(device)
        matrix = whitening.matrix
        self._matrix = None if matrix is None else torch.from_numpy(matrix).to(device)

    def __call__(self, batches: Iterable[list[Prepared]]) -> Iterator[list[DevicePicture]]:
        """The pictures of each batch (all of one bucket), in order.

        On CUDA a batch is handed out once the next one was launched.

        Raises:
            DeviceOutOfMemory: a batch is too large for the device.
        """
        before: _Launched | None = None
        for batch in batches:
            with self.parser.guarded(batch):
                launched = self._launch(batch)
            if before is not None:
                yield self._collected(before)
            before = launched
            if not self.cuda:
                yield self._collected(launched)
                before = None
        if before is not None:
            yield self._collected(before)

    @torch.inference_mode()
    def _launch(self, batch: list[Prepared]) -> _Launched:
        parser = self.parser
        if parser.inference.plain:
            pixels = self._uploads([one.pixels for one in batch])
            found = parser.seen_whole(self._network(parser.input_of(pixels)), batch)
        else:
            found = [parser.seen_by_views(one) for one in batch]
        counts = [cell_counts(one.mask, len(parser.manifest.labels)) for one in found]
        home = [self._home(one.mask) for one in found], [self._home(one) for one in counts]
        done = torch.cuda.current_stream(parser.device).record_event() if self.cuda else None
        kept = [one.confidence for one in found], [one.features for one in found]
        return _Launched(*home, *kept, done)

    def _home(self, value: Tensor) -> Tensor:
        """On its way to page-locked memory; a CPU's tensor as it is."""
        if not self.cuda:
            return value
        host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        return host.copy_(value, non_blocking=True)

    def _collected(self, launched: _Launched) -> list[DevicePicture]:
        if launched.done is not None:
            launched.done.synchronize()
        return [DevicePicture(self, launched, n) for n in range(len(launched.masks))]

    def aside(self, done: Any) -> Any:
        """Context whose work runs beside the network's, after the event `done`."""
        if self._aside is None:
            return nullcontext()
        self._aside.wait_event(done)
        return torch.cuda.stream(self._aside)

    def whitened(self, features: Tensor) -> Tensor:
        """W (v − μ) of rows, as `Whitening`, on the device."""
        centred = features - self._mean
        return centred if self._matrix is None else centred @ self._matrix.T
