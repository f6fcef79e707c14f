"""The table of weights that other projects lay out in their own ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from detector.model.detector import Detector
from detector.weights.interop import repvgg, ssd, torchvision_vgg, vgg, vovnet

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How one project's weights are told by their names, and renamed for a network."""

    recognises: Callable[[State], bool]
    with_our_names: Callable[[State, Detector], dict[str, Tensor]]


def _ssd(state: State, model: Detector) -> dict[str, Tensor]:
    return ssd.with_our_names(state, model.state_dict())


def _vgg16(state: State, model: Detector) -> dict[str, Tensor]:
    """Caffe's weights and SSD's networks have a reader of their own; it decimates fc6 and fc7."""
    own = model.state_dict()
    if vgg.is_caffe_s(state) or vgg.reads_decimated(own):
        return vgg.with_our_names(state, own, model.preprocess)
    return torchvision_vgg.with_our_names(state, model)


LAYOUTS = (
    Layout(ssd.is_ssd, _ssd),
    Layout(vgg.is_vgg16, _vgg16),
    Layout(torchvision_vgg.is_torchvision_vgg, torchvision_vgg.with_our_names),
    Layout(repvgg.is_repvgg, repvgg.with_our_names),
    Layout(vovnet.is_vovnet, vovnet.with_our_names),
)
"""The first that recognises the weights counts."""


def with_our_names(state: State, model: Detector) -> State:
    """The weights under our names; those that nobody recognises stay as they are.

    Raises:
        DetectorError: a project's weights, but not for this network.
    """
    for layout in LAYOUTS:
        if layout.recognises(state):
            return layout.with_our_names(state, model)
    return state
