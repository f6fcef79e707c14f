"""VGG classifiers (arXiv 1409.1556) of torchvision: ``vgg16`` and ``vgg19``, also with ``_bn``.

torchvision, models/vgg.py: ``features.N`` numbers convolutions (with bias), batch norms,
activations and pools together; a convolution's batch norm is ``features.N+1``. The classifier is
``classifier.0``, ``.3``, ``.6``. Like ours, fc6 reads the 7×7 features in the order channel, row,
column.
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
    NamePatterns,
    backbone_blocks,
    fit_input,
    place_blocks,
    place_classifier,
    without_bias,
)
from detector.weights.interop.order import convolutions, layers, pair

STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_KINDS = (Conv, ConvAct, ConvNormAct, FusedConv)
_NAMES = NamePatterns(project="VGG", blocks=(), parts=(), linear=r"classifier\.[036]")
_FEATURE = re.compile(r"features\.(\d+)\.(\w+)")


def indices(depth: int, norm: bool) -> list[int]:
    """Return the indices of the convolutions among the features of VGG16 or VGG19.

    >>> indices(16, norm=False)
    [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    """
    step, found, index = 3 if norm else 2, [], 0
    for count in STAGES[depth]:
        found += [index + step * i for i in range(count)]
        index += step * count + 1  # a pool
    return found


def is_torchvision_vgg(state: Mapping[str, Tensor]) -> bool:
    """Return whether the convolutions are those of one of the four networks."""
    return _layout(state) is not None


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of a network with a VGG backbone.

    If our convolution has a batch norm and no bias, the bias becomes part of the norm's mean.

    Args:
        state: weights that satisfy :func:`is_torchvision_vgg`.
        model: network to load them into; with batch norms if and only if the weights have them.

    Raises:
        DetectorError: the numbers of convolutions differ, or a block has other tensors.
    """
    found = _blocks(state)
    found[0] = fit_input(found[0], model.preprocess)
    ours = [block for block in backbone_blocks(model, _KINDS) if _is_vgg_convolution(block[1])]
    if len(found) == len(ours):
        found = [without_bias(b, module) for b, (_, module) in zip(found, ours, strict=True)]
    placed = place_blocks(found, ours, _NAMES)
    if vgg.has_linear(state) and vgg.reads_decimated(model.state_dict()):
        return placed | _place_decimated(state, model)
    return placed | place_classifier(state, model, _NAMES)


def _is_vgg_convolution(module: nn.Module) -> bool:
    """Return whether a block is a 3×3 convolution without dilation, unlike SSD's conv6, conv7."""
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
    """Return fc6 and fc7 as SSD's conv6 and conv7, see :mod:`detector.weights.interop.vgg`.

    A batch norm behind them has no counterpart: only its mean changes, by the bias.
    """
    own, tensors = model.state_dict(), vgg.decimated(state)
    placed = pair(tensors, ["fc6", "fc7"], convolutions(own)[13:15], "VGG16 weights")
    return vgg.biases_in_norms(placed, own)
