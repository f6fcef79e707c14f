"""Weights of MultimediaTechLab/YOLO (MIT): YOLOv7, and YOLOv9 t, s, m, c, as state dictionaries.

Its layers are numbered as in its model files: ``22.heads.0.anchor_conv.0.conv.weight``, with
``model.`` before it in checkpoints of its trainer. Rows 0 to 21 are those of ``cfg/yolov9.yaml``;
its main head is layer 22, and the layers of the auxiliary branch follow. ``cfg/yolov7.yaml`` has
the same layers in the same order; two of its variant ``multimediatech`` are connected as in that
code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from detector.model.detector import Detector, build
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError, one_line
from detector.weights.interop.own import fit_weights
from detector.weights.interop.packaged_names import coco_names

_LAYER = re.compile(r"(?:ema\.)?(?:model\.|rows\.)*(\d+)\.")

_HEAD_V9, _HEAD_V7 = 22, 105
_OUR_HEAD_V9 = 47
_AUXILIARY_ROWS = {
    30: {23: 22, 26: 25, 29: 28},
    38: {23: 29, 24: 30, 25: 31, 26: 35, 27: 36, 28: 37, 29: 38, 31: 40, 32: 41, 34: 43, 35: 44}
    | {37: 46},
}
"""Rows of ``cfg/yolov9.yaml`` for the layers of the auxiliary branch, by that branch's head."""
VARIANTS = {(16, True): "t", (32, True): "s", (32, False): "m", (64, False): "c"}
"""Size of YOLOv9 by the stem's channels, and by whether its first block is a plain ELAN."""

_V9_PARTS = (
    (r"^heads\.(\d)\.anchor_conv\.([01])\.", r"box_convs.\1.\2."),
    (r"^heads\.(\d)\.anchor_conv\.2\.", r"box_layers.\1."),
    (r"^heads\.(\d)\.class_conv\.([01])\.", r"class_convs.\1.\2."),
    (r"^heads\.(\d)\.class_conv\.2\.", r"class_layers.\1."),
    (r"\bbottleneck\.(\d+)\.conv1\.conv1\.(conv|bn)", r"m.\1.cv1.\2"),
    (r"\bbottleneck\.(\d+)\.conv1\.conv2\.conv", r"m.\1.cv1.pointwise"),
    (r"\bbottleneck\.(\d+)\.conv1\.conv2\.bn", r"m.\1.cv1.pointwise_bn"),
    (r"\bbottleneck\.(\d+)\.conv2\.", r"m.\1.cv2."),
    (r"\bconv5\.", "cv2."),
    (r"\bconv([1-4])\.", r"cv\1."),
    (r"^conv\.(conv|bn)\.", r"cv1.\1."),
)
"""Patterns inside a layer of YOLOv9 → our names."""
_V7_PARTS = (
    (r"^heads\.(\d)\.head_conv\.", r"m.\1."),
    (r"^heads\.(\d)\.implicit_a\.implicit$", r"m.\1.added"),
    (r"^heads\.(\d)\.implicit_m\.implicit$", r"m.\1.factor"),
    (r"^pre_conv\.0\.", "cv1."),
    (r"^pre_conv\.1\.", "cv3."),
    (r"^pre_conv\.2\.", "cv4."),
    (r"^short_conv\.", "cv2."),
    (r"^post_conv\.0\.", "cv5."),
    (r"^post_conv\.1\.", "cv6."),
    (r"^merge_conv\.", "cv7."),
    (r"^conv1\.(conv|bn)\.", r"\1."),
    (r"^conv2\.conv\.", "pointwise."),
    (r"^conv2\.bn\.", "pointwise_bn."),
)
"""Patterns inside a layer of YOLOv7 → our names."""
_FIXED = re.compile(r"heads\.\d\.anc2vec\.")
"""Numbers of the bins, which are the same in every network."""
INPUT = PreprocessKeys()
"""The input that the weights were trained with: RGB in 0..1, padded evenly."""

State = Mapping[str, Tensor]
Layers = dict[tuple[int, str], Tensor]


def is_yolov9(state: State) -> bool:
    """Return whether the names are those of its YOLOv9."""
    return (_HEAD_V9, "heads.0.anchor_conv.0.conv.weight") in _layers(state)


def is_yolov7(state: State) -> bool:
    """Return whether the names are those of its YOLOv7."""
    return (_HEAD_V7, "heads.0.implicit_a.implicit") in _layers(state)


def is_known(state: State) -> bool:
    """Return whether the names are those of one of its networks."""
    return is_yolov9(state) or is_yolov7(state)


def with_our_names(state: State, model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of ``cfg/yolov9.yaml`` or ``cfg/yolov7.yaml``."""
    layers = _layers(state)
    named = _yolov9_names(layers) if is_yolov9(state) else _yolov7_names(layers)
    return fit_weights(named, INPUT, model)


def class_names(state: State) -> tuple[str, ...]:
    """Return COCO's class names if the head has 80 classes; the weights hold no names."""
    return coco_names(_count_classes(_layers(state)))


def load(state: State, path: Path) -> Detector:
    """Build the network of a state dictionary and load all weights; it is in eval mode.

    YOLOv7's anchors are not among the weights: they are those of ``cfg/yolov7.yaml``.

    Raises:
        DetectorError: the weights are not those of a published size.
    """
    layers = _layers(state)
    name = "yolov9" if is_yolov9(state) else "yolov7"
    variant = _variant(layers, path) if name == "yolov9" else "multimediatech"
    try:
        model = build(name, class_names(state) or _count_classes(layers), variant)
        weights = {
            **{n: t for n, t in model.state_dict().items() if n.endswith(".anchors_wh")},
            **with_our_names(state, model),
        }
        model.load_state_dict(weights, strict=True)
    except (DetectorError, RuntimeError) as error:
        message = f"its {name} weights do not fit: {one_line(error)}"
        raise DetectorError(message, file=path) from error
    return model.eval()


def _layers(state: State) -> Layers:
    """Return the tensors by layer and name inside it; others are left out."""
    found = ((_LAYER.match(name), name, tensor) for name, tensor in state.items())
    return {(int(m[1]), name[m.end() :]): tensor for m, name, tensor in found if m}


def _count_classes(layers: Layers) -> int:
    if (_HEAD_V9, "heads.0.class_conv.2.bias") in layers:
        return len(layers[_HEAD_V9, "heads.0.class_conv.2.bias"])
    return len(layers[_HEAD_V7, "heads.0.head_conv.bias"]) // 3 - 5  # three anchors


def _variant(layers: Layers, path: Path) -> str:
    width = layers[0, "conv.weight"].shape[0]
    size = (width, (2, "conv2.conv.weight") in layers)
    if size not in VARIANTS:
        raise DetectorError(
            f"YOLOv9 with {width} channels in its stem, expected 16 (t), 32 (s, m), 64 (c)",
            file=path,
        )
    return VARIANTS[size]


def _yolov9_names(layers: Layers) -> dict[str, Tensor]:
    last = max(layer for layer, _ in layers)
    rows = _AUXILIARY_ROWS.get(last, {})
    named: dict[str, Tensor] = {}
    for (layer, inside), tensor in layers.items():
        if _FIXED.match(inside):
            continue
        place = f"rows.{rows.get(layer, layer)}."
        if layer in (_HEAD_V9, last):
            place = f"rows.{_OUR_HEAD_V9}.{'main' if layer == _HEAD_V9 else 'auxiliary'}."
        is_plain = (layer, "conv.bias") in layers
        name = inside.removeprefix("conv.") if is_plain else _renamed(inside, _V9_PARTS)
        named[place + name] = tensor
    return named


def _yolov7_names(layers: Layers) -> dict[str, Tensor]:
    return {
        f"rows.{layer}.{_renamed(inside, _V7_PARTS)}": (
            tensor.squeeze(0) if inside.endswith(".implicit") else tensor
        )
        for (layer, inside), tensor in layers.items()
    }


def _renamed(inside: str, parts: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in parts:
        inside = re.sub(theirs, ours, inside)
    return inside
