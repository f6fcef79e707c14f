"""VGG16 trained on ImageNet as start weights of SSD's backbone.

SSD (arXiv 1512.02325, section 2.1) turns fc6 and fc7 into convolutions and keeps every 4th of
their units, and every 3rd of fc6's 7×7 positions: "decimation", after DeepLab (1412.7062).

Three files are in circulation: torchvision's ``vgg16``; torchvision's ``vgg16_features``, which has
Caffe's weights and a classifier of NaN; and ``vgg16_reducedfc``, Caffe's weights with fc6 and fc7
decimated. Caffe's weights expect RGB minus the mean; torchvision's own expect this divided by
255 · standard deviation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.weights.interop.blocks import IMAGENET, Block, fit_input
from detector.weights.interop.order import convolutions, layers, pair

FEATURE_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
REDUCED_INDICES = (*FEATURE_INDICES, 31, 33)
FC6, FC7 = "classifier.0", "classifier.3"
KEEP_UNIT, KEEP_POSITION = 4, 3
PARTS = ("weight", "bias")
CAFFE = PreprocessKeys(mean_rgb=(123, 117, 104), scale_rgb=(1, 1, 1))
"""Input normalization of Caffe's weights; that of torchvision's own is ``IMAGENET``."""


def is_vgg16(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of one of the three files."""
    features = [f"features.{i}" for i in FEATURE_INDICES]
    return _is_reduced(state) or (layers(state, "features.") == features and has_linear(state))


def has_linear(state: Mapping[str, Tensor]) -> bool:
    """Return whether the weights include fc6 and fc7."""
    return {f"{path}.{part}" for path in (FC6, FC7) for part in ("weight", "bias")} <= state.keys()


def is_caffe(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights that satisfy :func:`is_vgg16` are Caffe's."""
    return _is_reduced(state) or not bool(torch.isfinite(state[f"{FC6}.weight"]).all())


def reads_decimated(own: Mapping[str, Tensor]) -> bool:
    """Return whether a network's 14th and 15th convolutions fit the decimated fc6 and fc7."""
    shapes = [tuple(own[f"{path}.weight"].shape) for path in convolutions(own)[13:15]]
    return shapes == [(1024, 512, 3, 3), (1024, 1024, 1, 1)]


def with_our_names(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], preprocess: PreprocessKeys
) -> dict[str, Tensor]:
    """Return the decimated weights under the names of a network's first 13 or 15 convolutions.

    Args:
        state: weights that satisfy :func:`is_vgg16`.
        own: the network's state dictionary.
        preprocess: the network's input normalization.

    Raises:
        DetectorError: the network has fewer convolutions, or fc6 or fc7 has an unexpected shape.
    """
    body, found, source = dict(state), layers(state, ""), CAFFE
    if not _is_reduced(state):
        found = [f"features.{i}" for i in FEATURE_INDICES]
        if not is_caffe(state):
            body |= decimated(state)
            found += ["fc6", "fc7"]
            source = IMAGENET
    first = Block(found[0], {f"conv.{part}": body[f"{found[0]}.{part}"] for part in PARTS})
    fitted = fit_input(first, preprocess, source).tensors
    body |= {f"{found[0]}.{part}": fitted[f"conv.{part}"] for part in PARTS}
    placed = pair(body, found, convolutions(own)[: len(found)], "VGG16 weights")
    return biases_in_norms(placed, own)


def biases_in_norms(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the biases of convolutions that have a batch norm instead to the norm's mean.

    The mean becomes −bias; the norm's other values, as initialized, are not in the result.
    """
    result = dict(tensors)
    for name in tensors.keys() - own.keys():
        mean = re.sub(r"conv\.bias$", "bn.running_mean", name)
        if mean != name and mean in own:
            result[mean] = -result.pop(name)
    return result


def decimated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return fc6 as a 3×3 convolution of 512 → 1024 channels, and fc7 as a 1×1 convolution.

    Raises:
        DetectorError: fc6 or fc7 does not have VGG16's shape.
    """
    fc6, fc7 = state[f"{FC6}.weight"], state[f"{FC7}.weight"]
    if tuple(fc6.shape) != (4096, 25088) or tuple(fc7.shape) != (4096, 4096):
        raise DetectorError(
            f"VGG16 weights: fc6 is {tuple(fc6.shape)}, fc7 {tuple(fc7.shape)}, "
            "expected (4096, 25088) and (4096, 4096)"
        )
    unit, position = slice(None, None, KEEP_UNIT), slice(None, None, KEEP_POSITION)
    return {
        "fc6.weight": fc6.view(4096, 512, 7, 7)[unit, :, position, position],
        "fc6.bias": state[f"{FC6}.bias"][unit],
        "fc7.weight": fc7[unit, unit, None, None],
        "fc7.bias": state[f"{FC7}.bias"][unit],
    }


def _is_reduced(state: Mapping[str, Tensor]) -> bool:
    return layers(state, "") == [str(i) for i in REDUCED_INDICES]
