"""Families of networks that are recognised by the names of their weights, and built from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from detector.model.detector import Detector
from detector.utils.errors import DetectorError, one_line
from detector.weights.interop import mit_yolo, ppyoloe, ssd, yolov6, yolox

logger = logging.getLogger(__name__)

State = Mapping[str, Tensor]


class Origin(NamedTuple):
    """Family of published weights, and the licence of its code and weights, in words."""

    name: str
    licence: str

    def say(self, path: Path) -> None:
        """Log the licence of a file of this family."""
        logger.info(
            "%s: weights of %s, licence: %s; see docs/weights.md",
            path.name,
            self.name,
            self.licence,
        )


@dataclass(frozen=True)
class Network:
    """A family whose checkpoints hold names and tensors only, without an architecture.

    Attributes:
        origin: name and licence of the family.
        recognizes: returns True for a state dictionary of this family.
        build: builds the network of a state dictionary with fresh weights; the path is for errors.
        with_our_names: renames and converts a state dictionary for a network.
        class_names: class names, which are known by the number of classes; empty if unknown.
    """

    origin: Origin
    recognizes: Callable[[State], bool]
    build: Callable[[State, Path], Detector]
    with_our_names: Callable[[State, Detector], dict[str, Tensor]]
    class_names: Callable[[State], tuple[str, ...]]

    def load(self, state: State, path: Path) -> Detector:
        """Build the network of a state dictionary and load all weights; it is in eval mode.

        Anchors, which no family stores, are those of the model file.

        Raises:
            DetectorError: the weights are not those of a published size, or do not fit.
        """
        try:
            model = self.build(state, path)
            own = model.state_dict()
            weights = self.with_our_names(state, model)
            for name in weights:
                if name not in own:
                    raise DetectorError(f"{name!r} has no place in the network")
            anchors = {name: own[name] for name in own if name.endswith(".anchors_wh")}
            model.load_state_dict(anchors | weights, strict=True)
        except (DetectorError, RuntimeError) as error:
            if isinstance(error, DetectorError) and error.file == path:
                raise
            message = f"its {self.origin.name} weights do not fit: {one_line(error)}"
            raise DetectorError(message, file=path) from error
        return model.eval()


NETWORKS = (
    Network(
        origin=Origin("SSD", "BSD-3-Clause (torchvision)"),
        recognizes=ssd.is_torchvision,
        build=ssd.build_network,
        with_our_names=ssd.with_our_names,
        class_names=ssd.known_names,
    ),
    Network(
        origin=Origin("SSD", "MIT (ssd.pytorch)"),
        recognizes=ssd.is_ssd_pytorch,
        build=ssd.build_network,
        with_our_names=ssd.with_our_names,
        class_names=ssd.known_names,
    ),
    Network(
        origin=Origin("MultimediaTechLab YOLO", "MIT"),
        recognizes=mit_yolo.is_known,
        build=mit_yolo.build_network,
        with_our_names=mit_yolo.with_our_names,
        class_names=mit_yolo.class_names,
    ),
    Network(
        origin=Origin("YOLOX", "Apache-2.0"),
        recognizes=yolox.is_yolox,
        build=yolox.build_network,
        with_our_names=yolox.with_our_names,
        class_names=yolox.class_names,
    ),
    Network(
        origin=Origin("PP-YOLOE", "Apache-2.0"),
        recognizes=ppyoloe.is_ppyoloe,
        build=ppyoloe.build_network,
        with_our_names=ppyoloe.with_our_names,
        class_names=ppyoloe.class_names,
    ),
    Network(
        origin=Origin("YOLOv6", "GPL-3.0, unless its author says otherwise"),
        recognizes=yolov6.is_yolov6,
        build=yolov6.build_network,
        with_our_names=yolov6.with_our_names,
        class_names=yolov6.class_names,
    ),
)
"""Families that are built from their weights alone."""


YOLO = Origin(
    "Ultralytics' YOLO, or of YOLOv7",
    "AGPL-3.0 (Ultralytics) or GPL-3.0 (YOLOv7), unless its author says otherwise",
)
"""Networks that are read from checkpoints with their YAML."""


def find_network(state: State) -> Network | None:
    """Return the family of a state dictionary, or None."""
    return next((network for network in NETWORKS if network.recognizes(state)), None)
