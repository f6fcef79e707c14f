"""Families of networks that are recognised by the names of their weights, and built from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detector.model.detector import Detector
from detector.weights.interop import ssd, yolox

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """A family whose checkpoints hold names and tensors only, without an architecture.

    Attributes:
        name: name of the family.
        licence: licence of the published code and weights, in words.
        recognizes: returns True for a state dictionary of this family.
        load: builds the network and loads all weights.
        class_names: class names, which are known by the number of classes; empty if unknown.
    """

    name: str
    licence: str
    recognizes: Callable[[State], bool]
    load: Callable[[State, Path], Detector]
    class_names: Callable[[State], tuple[str, ...]]


NETWORKS = (
    Network(
        name="SSD",
        licence="torchvision's weights BSD-3-Clause, ssd.pytorch's MIT",
        recognizes=ssd.is_ssd,
        load=ssd.load_ssd,
        class_names=ssd.known_names,
    ),
    Network(
        name="YOLOX",
        licence="Apache-2.0, code and weights",
        recognizes=yolox.is_yolox,
        load=yolox.load_yolox,
        class_names=yolox.class_names,
    ),
)
"""Families that are built from their weights alone."""


def find_network(state: State) -> Network | None:
    """Return the family of a state dictionary, or None."""
    return next((network for network in NETWORKS if network.recognizes(state)), None)
