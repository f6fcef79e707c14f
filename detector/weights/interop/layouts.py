"""Table of other projects' state-dictionary layouts, and their conversion to our names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from detector.model.detector import Detector
from detector.weights.interop import densenet, repvgg, timm, torchvision_vgg, vgg, vovnet
from detector.weights.interop.networks import NETWORKS, Network

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """Layout of a backbone's weights: how to recognise it, and how to rename its tensors.

    Attributes:
        recognizes: returns True for a state dictionary of this layout.
        with_our_names: renames and converts a state dictionary for a network.
    """

    recognizes: Callable[[State], bool]
    with_our_names: Callable[[State, Detector], dict[str, Tensor]]


def _vgg16(state: State, model: Detector) -> dict[str, Tensor]:
    """Convert Caffe's VGG16, or any VGG16 for SSD's decimated fc6 and fc7; else torchvision's."""
    own = model.state_dict()
    if vgg.is_caffe(state) or vgg.reads_decimated(own):
        return vgg.with_our_names(state, own, model.preprocess)
    return torchvision_vgg.with_our_names(state, model)


LAYOUTS: tuple[Network | Layout, ...] = (
    *NETWORKS,
    Layout(vgg.is_vgg16, _vgg16),
    Layout(torchvision_vgg.is_torchvision_vgg, torchvision_vgg.with_our_names),
    Layout(repvgg.is_repvgg, repvgg.with_our_names),
    Layout(vovnet.is_vovnet, vovnet.with_our_names),
    Layout(densenet.is_densenet, densenet.with_our_names),
)
"""Supported layouts in order of precedence: the first that recognizes the weights is used."""


def with_our_names(state: State, model: Detector) -> State:
    """Return the weights under our names; an unknown layout is returned unchanged.

    A backbone of timm takes timm's own names; it comes first, since other projects' are alike.

    Raises:
        DetectorError: the layout is known, but the weights do not fit this network.
    """
    if timm.is_of_timm_backbone(state, model):
        return timm.with_our_names(state, model)
    for layout in LAYOUTS:
        if layout.recognizes(state):
            return layout.with_our_names(state, model)
    return state
