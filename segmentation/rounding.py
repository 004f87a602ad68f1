"""What rounding weights to bfloat16 shifts on average, put back into the biases.

A weight loses up to 1 part in 256. Inputs of a convolution are mostly positive, so the lost parts do not
cancel: each output channel is shifted by Σ (W − round(W)) · E[x], which is known once the mean input E[x]
is (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from segmentation.preprocess import InputRule, to_batch
from segmentation.scenes import render

_SIDES_PX = (128, 96)
_SCENES = (1, 2)


@lru_cache(maxsize=1)
def _scenes() -> Tensor:
    return to_batch([render(seed, size=_SIDES_PX).image for seed in _SCENES])


@torch.inference_mode()
def correct_biases(network: nn.Module, rule: InputRule, kind: torch.dtype) -> None:
    """Change the biases of all convolutions so that weights rounded to `kind` answer right on average.

    The weights stay as they are. Mean inputs are those of two small rendered scenes.

    Args:
        network: in float32 and eval mode, batch norms folded.
    """
    means: dict[nn.Conv2d, Tensor] = {}

    def listen(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        means[module] = inputs[0].mean((0, 2, 3))

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_pre_hook(listen) for module in convolutions]
    device = next(network.parameters()).device
    network(rule.normalise(_scenes().to(device)))
    for hook in hooks:
        hook.remove()
    for convolution, mean in means.items():
        weight = convolution.weight
        lost = (weight - weight.to(kind).float()).sum((2, 3))  # (out, in of its group)
        grouped = mean.reshape(convolution.groups, 1, -1)
        shift = (lost.reshape(convolution.groups, -1, lost.shape[1]) * grouped).sum(2).flatten()
        bias = shift if convolution.bias is None else convolution.bias + shift
        convolution.bias = nn.Parameter(bias.clone(), requires_grad=False)
