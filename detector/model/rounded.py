"""Rounding to 8 bits in training, so that weights settle where an INT8 file loses little.

Quantisation-aware training (arXiv 1712.05877, section 3): forward rounds weights and inputs of each
convolution as an INT8 file will, backward lets gradients through where nothing is clipped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

WEIGHT_LEVELS = 127
"""Largest signed 8-bit integer of a weight; −128 is left out, so that the range is symmetric."""

ACTIVATION_LEVELS = 255
"""Largest unsigned 8-bit integer of an activation."""

ROUNDED = (functional.conv2d, functional.linear)
"""Functions whose first two arguments, input and weights, are rounded."""

SMALLEST_STEP = 1e-12
"""Smallest step between two rounded values, where all values are 0."""


class Int8Rounding(TorchFunctionMode):
    """Rounds the weights and inputs of all convolutions and linear layers within a ``with`` block.

    Whichever module calls them: blocks of other packages, too.

    Args:
        per_tensor: weights have one step a layer, in place of one for each output channel.
    """

    def __init__(self, per_tensor: bool = False) -> None:
        super().__init__()
        self._per_tensor = per_tensor

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch, with rounded tensors if it is one of :data:`ROUNDED`."""
        kwargs = kwargs or {}
        if func not in ROUNDED:
            return func(*args, **kwargs)
        named = dict(zip(("input", "weight"), args, strict=False)) | kwargs
        x = rounded_input(named.pop("input"))
        weight = rounded_weight(named.pop("weight"), self._per_tensor)
        return func(x, weight, *args[2:], **named)


def rounded_weight(weight: Tensor, per_tensor: bool = False) -> Tensor:
    """Round weights (c_out, …) to 8 signed bits, with a step for each output channel, or for all.

    >>> rounded_weight(torch.tensor([[1.27, 0.314], [254.0, 3.1]]))
    tensor([[  1.2700,   0.3100],
            [254.0000,   4.0000]])
    """
    values = weight.float()
    steps = values.detach().flatten(1).abs().amax(1) / WEIGHT_LEVELS
    if per_tensor:
        steps = steps.amax().expand_as(steps).contiguous()
    zeros = torch.zeros_like(steps, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(
        values, steps.clamp(min=SMALLEST_STEP), zeros, 0, -WEIGHT_LEVELS, WEIGHT_LEVELS
    )


def rounded_input(x: Tensor) -> Tensor:
    """Round activations to 8 unsigned bits between their least and largest value, 0 included.

    The range is that of the batch: nothing is kept from step to step.

    >>> rounded_input(torch.tensor([-0.1, 0.0, 0.0104, 2.45]))
    tensor([-0.1000,  0.0000,  0.0100,  2.4500])
    """
    values = x.float()
    low, high = torch.aminmax(values.detach())
    low, high = low.clamp(max=0), high.clamp(min=0)
    step = ((high - low) / ACTIVATION_LEVELS).clamp(min=SMALLEST_STEP)
    zero = (-low / step).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values, step, zero, 0, ACTIVATION_LEVELS)
