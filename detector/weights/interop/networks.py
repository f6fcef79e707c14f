"""Families of networks that are recognised by the names of their weights, and built from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from detector.model.detector import Detector
from detector.weights.interop import mit_yolo, ppyoloe, ssd, yolox

logger = logging.getLogger(__name__)

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
        licence="BSD-3-Clause (torchvision) or MIT (ssd.pytorch)",
        recognizes=ssd.is_ssd,
        load=ssd.load_ssd,
        class_names=ssd.known_names,
    ),
    Network(
        name="YOLOX",
        licence="Apache-2.0",
        recognizes=yolox.is_yolox,
        load=yolox.load_yolox,
        class_names=yolox.class_names,
    ),
    Network(
        name="YOLOv7 and YOLOv9 of MultimediaTechLab",
        licence="MIT",
        recognizes=mit_yolo.is_known,
        load=mit_yolo.load,
        class_names=mit_yolo.class_names,
    ),
    Network(
        name="PP-YOLOE",
        licence="Apache-2.0",
        recognizes=ppyoloe.is_ppyoloe,
        load=ppyoloe.load_ppyoloe,
        class_names=ppyoloe.class_names,
    ),
)
"""Families that are built from their weights alone."""


YOLOV5_LICENCE = (
    "Ultralytics' YOLO, or of YOLOv7",
    "AGPL-3.0 (Ultralytics) or GPL-3.0 (YOLOv7), unless its author says otherwise",
)
"""Name and licence of networks that are read from checkpoints with their YAML."""


@cache
def say_licence(path: Path, name: str, licence: str) -> None:
    """Log the licence of published weights of a family, once for each file."""
    logger.info("%s: weights of %s, licence: %s; see docs/weights.md", path.name, name, licence)


def find_network(state: State) -> Network | None:
    """Return the family of a state dictionary, or None."""
    return next((network for network in NETWORKS if network.recognizes(state)), None)
