"""VGG16 classification weights of torchvision as start weights of SSD's backbone.

SSD (arXiv 1512.02325, section 2.1) turns fc6 and fc7 into convolutions and keeps every 4th of
their units, and of fc6's 7×7 positions every 3rd: "decimation", after DeepLab (1412.7062).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from detector.errors import DetectorError
from detector.interop.order import convolutions, layers, pair

FEATURES = [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
FC6, FC7 = "classifier.0", "classifier.3"
KEEP_UNIT, KEEP_POSITION = 4, 3


def is_vgg16(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of torchvision's ``vgg16``."""
    linear = {f"{path}.{part}" for path in (FC6, FC7) for part in ("weight", "bias")}
    return layers(state, "features.") == FEATURES and linear <= state.keys()


def decimated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``vgg16`` with fc6 as a 3×3 convolution of 512 → 1024 channels and fc7 as a 1×1 one.

    Raises:
        DetectorError: fc6 or fc7 has another shape than VGG16's.
    """
    fc6, fc7 = state[f"{FC6}.weight"], state[f"{FC7}.weight"]
    if tuple(fc6.shape) != (4096, 25088) or tuple(fc7.shape) != (4096, 4096):
        raise DetectorError(
            f"VGG16 weights: fc6 is {tuple(fc6.shape)}, fc7 {tuple(fc7.shape)}, "
            "expected (4096, 25088) and (4096, 4096)"
        )
    unit, position = slice(None, None, KEEP_UNIT), slice(None, None, KEEP_POSITION)
    result = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
    result["fc6.weight"] = fc6.view(4096, 512, 7, 7)[unit, :, position, position]
    result["fc6.bias"] = state[f"{FC6}.bias"][unit]
    result["fc7.weight"] = fc7[unit, unit, None, None]
    result["fc7.bias"] = state[f"{FC7}.bias"][unit]
    return result


def with_our_names(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The decimated weights under the names of a network's first 15 convolutions.

    Raises:
        DetectorError: the network has fewer.
    """
    body = decimated(state)
    found = [*layers(body, "features."), "fc6", "fc7"]
    return pair(body, found, convolutions(names)[: len(found)], "VGG16 weights")
