"""How well a network in training parses the val parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from segmentation.datasets import ClassMap, Rgb
from segmentation.drawing.contact import Prediction
from segmentation.metrics import Confusion
from segmentation.preprocess import InputRule, to_batch
from segmentation.pspnet import PSPNet

SHOWN = 8
"""Val pictures on the contact sheet of a run, spread evenly."""


@torch.inference_mode()
def validate(
    network: PSPNet,
    rule: InputRule,
    pictures: Sequence[tuple[Rgb, ClassMap]],
    device: torch.device,
    bf16: bool,
) -> tuple[Confusion, list[Prediction]]:
    """Confusion over labelled pictures, single scale, at the masks' own size.

    Also gives the predictions of `SHOWN` pictures. The network is left in eval mode.
    """
    network.eval()
    confusion = Confusion(network.config.classes)
    shown, predictions = set(evenly(len(pictures), SHOWN)), []
    for index in range(len(pictures)):
        image, mask = pictures[index]
        view = rule.view(image)
        batch = rule.normalise(to_batch([view.pixels]).to(device))
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            maps = network(batch.contiguous(memory_format=torch.channels_last), general=False)
        height, width = view.pixels.shape[:2]
        box, logits = view.content, maps.logits.float()
        if (box.height, box.width) != (height, width):  # cut the padding off again
            logits = network.upsample(logits, (height, width))
            logits = logits[:, :, box.top : box.top + box.height, box.left : box.left + box.width]
        full = network.upsample(logits, (mask.shape[0], mask.shape[1]))
        predicted = full.argmax(1)[0].to(torch.uint8).cpu().numpy()
        confusion.add(mask, predicted)
        if index in shown:
            predictions.append(Prediction(f"{index}", image, mask, predicted))
    return confusion, predictions


def evenly(count: int, wanted: int) -> Iterable[int]:
    """At most `wanted` indices below `count`, spread over them."""
    wanted = min(count, wanted)
    return [index * count // wanted for index in range(wanted)]
