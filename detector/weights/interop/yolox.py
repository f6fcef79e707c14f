"""YOLOX's weights (Megvii-BaseDetection/YOLOX, yolox/models), as state dictionaries.

``backbone.backbone.dark3.1.m.0.conv1.conv.weight``: its backbone and neck are named modules, our
``cfg/yolox.yaml`` has one row for each. The head's ``cls_convs``, ``reg_preds``, … are lists by
level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from detector.model.detector import Detector, build
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.weights.interop.order import count_outputs, rename_all, renamed
from detector.weights.interop.own import fit_weights
from detector.weights.interop.packaged_names import coco_names

_ROWS = {
    "backbone.backbone.stem": 0,
    "backbone.backbone.dark2.0": 1,
    "backbone.backbone.dark2.1": 2,
    "backbone.backbone.dark3.0": 3,
    "backbone.backbone.dark3.1": 4,
    "backbone.backbone.dark4.0": 5,
    "backbone.backbone.dark4.1": 6,
    "backbone.backbone.dark5.0": 7,
    "backbone.backbone.dark5.1": 8,
    "backbone.backbone.dark5.2": 9,
    "backbone.lateral_conv0": 10,
    "backbone.C3_p4": 13,
    "backbone.reduce_conv1": 14,
    "backbone.C3_p3": 17,
    "backbone.bu_conv2": 18,
    "backbone.C3_n3": 20,
    "backbone.bu_conv1": 21,
    "backbone.C3_n4": 23,
    "head": 24,
}
"""Row of ``cfg/yolox.yaml`` of each of the authors' modules."""
_PARTS = (
    (r"\bdconv\.", "depthwise."),
    (r"\bpconv\.", "pointwise."),
    (r"\bconv([123])\.", r"cv\1."),
    (r"^(rows\.\d+)\.cls_convs\.", r"\1.class_convs."),
    (r"^(rows\.\d+)\.reg_convs\.", r"\1.box_convs."),
    (r"^(rows\.\d+)\.cls_preds\.", r"\1.class_layers."),
    (r"^(rows\.\d+)\.reg_preds\.", r"\1.box_layers."),
    (r"^(rows\.\d+)\.obj_preds\.", r"\1.objectness_layers."),
)
"""Patterns inside names → our words."""
_MODULE = re.compile("|".join(re.escape(name) for name in sorted(_ROWS, key=len, reverse=True)))

STEM = "backbone.backbone.stem.conv.conv.weight"
CLASSES = "head.cls_preds.0.bias"
VARIANTS = {16: "nano", 24: "tiny", 32: "s", 48: "m", 64: "l", 80: "x"}
"""Variant of ``cfg/yolox.yaml`` by the stem's channels."""
INPUT = PreprocessKeys(channel_order="bgr", scale_rgb=(1.0, 1.0, 1.0))
"""The input that the authors' weights were trained with."""
SIDES = {"nano": 416, "tiny": 416}
"""Input side for which the authors publish AP, where it is not 640 pixels."""


def is_yolox(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of YOLOX."""
    return STEM in state and CLASSES in state


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of ``cfg/yolox.yaml``, for the network's own input."""
    return fit_weights(rename_all(state, _our_name), INPUT, model)


def class_names(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return COCO's class names if the head has 80 classes; the weights hold no names."""
    return coco_names(count_outputs(state, CLASSES))


def build_network(state: Mapping[str, Tensor], path: Path) -> Detector:
    """Build the network of a YOLOX state dictionary with fresh weights.

    Raises:
        DetectorError: the weights are not those of a published size.
    """
    width = count_outputs(state, STEM)
    if width not in VARIANTS:
        sizes = ", ".join(f"{count} ({name})" for count, name in VARIANTS.items())
        raise DetectorError(f"YOLOX with {width} channels in its stem, expected {sizes}", file=path)
    variant = VARIANTS[width]
    model = build("yolox", class_names(state) or count_outputs(state, CLASSES), variant)
    side = SIDES.get(variant, model.preprocess.size_hw[0])
    model.preprocess = model.preprocess.with_size((side, side))
    return model


def _our_name(name: str) -> str:
    match = _MODULE.match(name)
    if match is None:
        return name
    return renamed(f"rows.{_ROWS[match[0]]}{name[match.end() :]}", _PARTS)
