"""Weights of MultimediaTechLab/YOLO (MIT): YOLOv7, and YOLOv9 t, s, m, c, as state dictionaries.

Its layers are numbered as in its model files: ``22.heads.0.anchor_conv.0.conv.weight``, with
``model.`` before it in checkpoints of its trainer. Rows 0 to 21 are those of ``cfg/yolov9.yaml``;
its main head is layer 22, and the layers of the auxiliary branch follow. ``cfg/yolov7.yaml`` has
the same layers in the same order; two of its variant ``multimediatech`` are connected as in that
code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from detector.model.detector import Detector, build
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError
from detector.weights.interop.order import count_outputs, rename_all, renamed
from detector.weights.interop.own import fit_weights
from detector.weights.interop.packaged_names import coco_names

_PREFIX = re.compile(r"^(?:ema\.)?(?:model\.|rows\.)*(?=\d+\.)")
"""Prefixes of the numbers of layers."""

_HEAD_V9, _HEAD_V7 = "22.heads.0.", "105.heads.0."
_BOXES_V9, _CLASSES_V9 = f"{_HEAD_V9}anchor_conv.0.conv.weight", f"{_HEAD_V9}class_conv.2.bias"
_ADDED_V7, _OUTPUTS_V7 = f"{_HEAD_V7}implicit_a.implicit", f"{_HEAD_V7}head_conv.bias"
_STEM_V9, _ELAN_V9 = "0.conv.weight", "2.conv2.conv.weight"
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
_VECTORS = (".added", ".factor")
"""Vectors of YOLOv7's head, which the authors store with a batch dimension."""
_HEAD = re.compile(r"(\d+)\.heads\.")
_FIXED = re.compile(r"\d+\.heads\.\d\.anc2vec\.")
"""Numbers of the bins, which are the same in every network."""
_SIZES = "16 (t), 32 (s, m), 64 (c)"
_SIZES_WITH_BLOCKS = (
    "16 with ELAN (t), 32 with ELAN (s) or RepNCSPELAN (m), 64 with RepNCSPELAN (c)"
)
INPUT = PreprocessKeys()
"""The input that the weights were trained with: RGB in 0..1, padded evenly."""

State = Mapping[str, Tensor]


def is_yolov9(state: State) -> bool:
    """Return whether the names are those of its YOLOv9."""
    return {_BOXES_V9, _CLASSES_V9} <= set(map(_bare, state))


def is_yolov7(state: State) -> bool:
    """Return whether the names are those of its YOLOv7."""
    return {_ADDED_V7, _OUTPUTS_V7} <= set(map(_bare, state))


def is_known(state: State) -> bool:
    """Return whether the names are those of one of its networks."""
    return is_yolov9(state) or is_yolov7(state)


def with_our_names(state: State, model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of ``cfg/yolov9.yaml`` or ``cfg/yolov7.yaml``.

    Names of other layers stay; the numbers of the bins are left out.

    Raises:
        DetectorError: two tensors have the same place, as in ``model.0.`` and ``ema.model.0.``.
    """
    layers = rename_all(state, _bare)
    kept = {name: tensor for name, tensor in layers.items() if not _FIXED.match(name)}
    named = rename_all(kept, _namer_v9(layers) if is_yolov9(state) else _yolov7_name)
    squeezed = {n: t.squeeze(0) if n.endswith(_VECTORS) else t for n, t in named.items()}
    return fit_weights(squeezed, INPUT, model)


def class_names(state: State) -> tuple[str, ...]:
    """Return COCO's class names if the head has 80 classes; the weights hold no names."""
    return coco_names(_count_classes(rename_all(state, _bare)))


def build_network(state: State, path: Path) -> Detector:
    """Build the network of a state dictionary with fresh weights.

    Raises:
        DetectorError: the weights are not those of a published size, or two tensors have the same
            place.
    """
    layers = rename_all(state, _bare)
    classes = class_names(layers) or _count_classes(layers)
    if is_yolov9(layers):
        return build("yolov9", classes, _variant(layers, path))
    return build("yolov7", classes, "multimediatech")


def _bare(name: str) -> str:
    """Return a layer's name from its number on, and other names as they are."""
    return _PREFIX.sub("", name)


def _count_classes(layers: State) -> int:
    if _CLASSES_V9 in layers:
        return count_outputs(layers, _CLASSES_V9)
    return count_outputs(layers, _OUTPUTS_V7) // 3 - 5  # three anchors


def _variant(layers: State, path: Path) -> str:
    if _STEM_V9 not in layers:
        raise DetectorError(f"YOLOv9 without a stem, expected {_STEM_V9!r}", file=path)
    width, plain = count_outputs(layers, _STEM_V9), _ELAN_V9 in layers
    if (width, plain) in VARIANTS:
        return VARIANTS[width, plain]
    first = "ELAN" if plain else "RepNCSPELAN"
    found = f" and {first} as its first block" if width in {w for w, _ in VARIANTS} else ""
    raise DetectorError(
        f"YOLOv9 with {width} channels in its stem{found}, expected "
        f"{_SIZES_WITH_BLOCKS if found else _SIZES}",
        file=path,
    )


def _namer_v9(layers: State) -> Callable[[str], str]:
    """Return the function from YOLOv9's names to ours; rows depend on the auxiliary branch."""
    heads = {int(match[1]) for match in map(_HEAD.match, layers) if match}
    auxiliary = next((head for head in _AUXILIARY_ROWS if head in heads), None)
    rows = _AUXILIARY_ROWS[auxiliary] if auxiliary else {}
    places = {22: "47.main", auxiliary: "47.auxiliary"} | rows

    def our_name(name: str) -> str:
        number, _, inside = name.partition(".")
        if not number.isdecimal():
            return name
        is_plain = f"{number}.conv.bias" in layers
        ours = inside.removeprefix("conv.") if is_plain else renamed(inside, _V9_PARTS)
        return f"rows.{places.get(int(number), number)}.{ours}"

    return our_name


def _yolov7_name(name: str) -> str:
    number, _, inside = name.partition(".")
    return f"rows.{number}.{renamed(inside, _V7_PARTS)}" if number.isdecimal() else name
