"""A network recorded once for each size of batch: launching a CUDA graph takes one call, not hundreds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segmentation.pspnet import ParsedMaps

_MOST = 12
_WARM_UPS = 3


class _Recorded(NamedTuple):
    """One size of batch.

    Attributes:
        batch: what the network reads.
        maps: what it writes.
        replay: runs it.
        held: tensors that the recording reads where they lie, such as the pyramid's grids.
    """

    batch: Tensor
    maps: ParsedMaps
    replay: Callable[[], None]
    held: tuple[Any, ...]


def padded(count: int) -> int:
    """Pictures in a batch rounded up to a power of two, so that few sizes are recorded."""
    return 1 << (count - 1).bit_length()


class Graphs:
    """Calls a network through recordings, one for each size; the oldest is dropped beyond 12.

    What it returns is overwritten by the next call of the same size. On a CPU a recording is the
    network itself, with the same buffers around it.

    Args:
        network: in eval mode, on its device.
    """

    def __init__(self, network: Callable[[Tensor], ParsedMaps]) -> None:
        self.network = network
        self._recorded: OrderedDict[tuple[int, ...], _Recorded] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> ParsedMaps:
        """(B, 3, H, W) on the network's device, in its type → maps of B pictures."""
        count = len(batch)
        shape = (padded(count), *batch.shape[1:])
        found = self._recorded.pop(shape, None) or self._record(shape, batch)
        self._recorded[shape] = found
        if len(self._recorded) > _MOST:
            self._recorded.popitem(last=False)
        found.batch[:count].copy_(batch)
        found.replay()
        logits, fused, general, _ = found.maps
        own = None if general is None else general[:count]
        return ParsedMaps(logits[:count], fused[:count], own, None)

    def _record(self, shape: tuple[int, ...], like: Tensor) -> _Recorded:
        still = torch.zeros(shape, dtype=like.dtype, device=like.device)
        still = still.contiguous(memory_format=torch.channels_last)
        if like.device.type != "cuda":
            maps = self.network(still)
            kept = ParsedMaps(*(None if one is None else one.clone() for one in maps))  # type: ignore[arg-type]

            def replay() -> None:
                for target, source in zip(kept, self.network(still), strict=True):
                    if target is not None and source is not None:
                        target.copy_(source)

            return _Recorded(still, kept, replay, ())
        side = torch.cuda.Stream(like.device)
        side.wait_stream(torch.cuda.current_stream(like.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self.network(still)
        torch.cuda.current_stream(like.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            maps = self.network(still)
        pyramid = getattr(self.network, "pyramid", None)
        grids = tuple(getattr(pyramid, "prepared", {}).values())
        return _Recorded(still, maps, graph.replay, (graph, grids))
