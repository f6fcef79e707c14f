"""VGG classifiers (arXiv 1409.1556) of torchvision: ``vgg16`` and ``vgg19``, also with ``_bn``.

torchvision, models/vgg.py: ``features.N`` are convolutions with bias, activations and pools counted
together, with batch norm ``features.N+1``; then ``classifier.0``, ``.3``, ``.6``. fc6 reads the 7×7
map channel after channel, row after row, as ours does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from detector.layers.conv import Conv, FusedConv
from detector.layers.vgg import ConvAct, ConvNormAct
from detector.model.detector import Detector
from detector.utils.errors import DetectorError
from detector.weights.interop import vgg
from detector.weights.interop.blocks import (
    Block,
    Names,
    backbone_blocks,
    fit_input,
    place_blocks,
    place_classifier,
    without_bias,
)
from detector.weights.interop.order import convolutions, layers, pair

STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_KINDS = (Conv, ConvAct, ConvNormAct, FusedConv)
_NAMES = Names(project="VGG", blocks=(), parts=(), linear=r"classifier\.[036]")
_FEATURE = re.compile(r"features\.(\d+)\.(\w+)")


def indices(depth: int, norm: bool) -> list[int]:
    """Numbers of the convolutions among the features of VGG16 or VGG19.

    >>> indices(16, norm=False)
    [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    """
    step, found, index = 3 if norm else 2, [], 0
    for count in STAGES[depth]:
        found += [index + step * i for i in range(count)]
        index += step * count + 1  # a pool
    return found


def is_torchvision_vgg(state: Mapping[str, Tensor]) -> bool:
    """Whether the convolutions are those of one of the four networks."""
    return _layout(state) is not None


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """The weights under the names of a network whose backbone is VGG's.

    A convolution without bias before a batch norm takes theirs as part of the norm's mean.

    Args:
        state: for which :func:`is_torchvision_vgg` holds.
        model: with batch norms if the weights have them, else without.

    Raises:
        DetectorError: the number of convolutions, or what belongs to one, is another.
    """
    found = _blocks(state)
    found[0] = fit_input(found[0], model.preprocess)
    ours = [block for block in backbone_blocks(model, _KINDS) if _is_vgg_s(block[1])]
    if len(found) == len(ours):
        found = [without_bias(b, module) for b, (_, module) in zip(found, ours, strict=True)]
    placed = place_blocks(found, ours, _NAMES)
    if vgg.has_linear(state) and vgg.reads_decimated(model.state_dict()):
        return placed | _place_decimated(state, model)
    return placed | place_classifier(state, model, _NAMES)


def _is_vgg_s(module: nn.Module) -> bool:
    """Whether it is a 3×3 convolution without dilation: SSD's conv6 and conv7 are not."""
    conv = module.conv
    assert isinstance(conv, nn.Conv2d)
    return conv.kernel_size == (3, 3) and conv.dilation == (1, 1)


def _layout(state: Mapping[str, Tensor]) -> tuple[int, bool] | None:
    found = layers(state, "features.")
    for depth in STAGES:
        for norm in (False, True):
            if found == [f"features.{index}" for index in indices(depth, norm)]:
                return depth, norm
    return None


def _blocks(state: Mapping[str, Tensor]) -> list[Block]:
    layout = _layout(state)
    assert layout is not None
    depth, norm = layout
    places = {index: (index, "conv") for index in indices(depth, norm)}
    if norm:
        places |= {index + 1: (index, "bn") for index in indices(depth, norm)}
    found = {index: Block(f"features.{index}", {}) for index in indices(depth, norm)}
    for name, tensor in state.items():
        match = _FEATURE.fullmatch(name)
        if match and int(match[1]) in places:
            index, part = places[int(match[1])]
            found[index].tensors[f"{part}.{match[2]}"] = tensor
        elif not re.fullmatch(rf"{_NAMES.linear}\.(weight|bias)", name):
            raise DetectorError(f"VGG weights: {name!r} has no place in the network")
    return list(found.values())


def _place_decimated(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """fc6 and fc7 as SSD's conv6 and conv7, see :mod:`detector.weights.interop.vgg`.

    A batch norm behind them has no counterpart: it keeps what it has, but for the mean.
    """
    own, tensors = model.state_dict(), vgg.decimated(state)
    placed = pair(tensors, ["fc6", "fc7"], convolutions(own)[13:15], "VGG16 weights")
    return vgg.biases_in_norms(placed, own)
