"""Pictures to a device while it computes: two pinned buffers in turn, on a stream of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segmentation.resample import Pixels


class Uploads:
    """Copies batches of equal pictures to a device.

    A page-locked buffer lets the copy run beside the network, and a second one lets the next batch be
    laid out while the first is still being copied. On a CPU the same buffers are used, not pinned,
    and nothing is copied from them.

    Args:
        device: where batches go.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self._buffers: list[Tensor | None] = [None, None]
        self._copied: list[Any] = [None, None]
        self._turn = 0
        self._stream = torch.cuda.Stream(device) if self.cuda else None

    def _buffer(self, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        """The buffer whose turn it is, large enough, no longer read by a copy."""
        self._turn = 1 - self._turn
        if self._copied[self._turn] is not None:
            self._copied[self._turn].synchronize()
        count = int(np.prod(shape)) * kind.itemsize
        buffer = self._buffers[self._turn]
        if buffer is None or buffer.numel() < count:
            buffer = torch.empty(count, dtype=torch.uint8, pin_memory=self.cuda)
            self._buffers[self._turn] = buffer
        return buffer[:count].view(kind).view(shape)

    def __call__(self, pictures: list[Pixels]) -> Tensor:
        """Equal (H, W, 3) pictures → (B, 3, H, W) of their dtype on the device, channels last.

        On a CPU the result is valid until the call after the next.
        """
        kind = torch.from_numpy(pictures[0][:0].copy()).dtype
        host = self._buffer((len(pictures), *pictures[0].shape), kind)
        np.stack(pictures, out=host.numpy())
        if self._stream is None:
            return host.permute(0, 3, 1, 2)
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            batch = host.to(self.device, non_blocking=True)
            self._copied[self._turn] = self._stream.record_event()
        current.wait_event(self._copied[self._turn])
        batch.record_stream(current)
        return batch.permute(0, 3, 1, 2)
