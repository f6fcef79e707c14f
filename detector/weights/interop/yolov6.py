"""Weights of YOLOv6 3.0 n, s and m (meituan/YOLOv6, yolov6/models; GPL-3.0).

Its checkpoints hold a pickled ``yolov6.models.yolo.Model`` and no architecture, so that the size is
known by the widths. ``backbone.ERBlock_3.1.block.0.rbr_dense.conv.weight``: its stages, layers of
the neck and the head are named modules; ``cfg/yolov6.yaml`` has one row for each.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from detector.layers.conv import YOLO_EPS
from detector.model.detector import Detector, build
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import DetectorError, shown
from detector.weights.interop.bins import without_bins
from detector.weights.interop.order import Replacement, count_outputs, rename_all, renamed
from detector.weights.interop.own import fit_weights
from detector.weights.interop.packaged_names import coco_names
from detector.weights.pickles.machine import PickledObject, StoredTensor
from detector.weights.pickles.modules import stored_tensors, walk

logger = logging.getLogger(__name__)

PACKAGE = "yolov6."
"""Package of its networks."""

_STAGES = {
    "backbone.ERBlock_2.1": 2,
    "backbone.ERBlock_3.1": 5,
    "backbone.ERBlock_4.1": 8,
    "backbone.ERBlock_5.1": 11,
    "neck.Rep_p4": 17,
    "neck.Rep_p3": 21,
    "neck.Rep_n3": 25,
    "neck.Rep_n4": 29,
}
"""Row of ``cfg/yolov6.yaml`` of each chain of RepVGG blocks; that of a cross-stage partial block in
its place, as m has them, is the next one."""
_ROWS = {
    "backbone.stem": 0,
    "backbone.ERBlock_2.0": 1,
    "backbone.ERBlock_3.0": 4,
    "backbone.ERBlock_4.0": 7,
    "backbone.ERBlock_5.0": 10,
    "backbone.ERBlock_5.2.cspsppf": 13,
    "backbone.ERBlock_5.2.sppf": 14,
    "neck.reduce_layer0": 15,
    "neck.Bifusion0": 16,
    "neck.reduce_layer1": 19,
    "neck.Bifusion1": 20,
    "neck.downsample2": 23,
    "neck.downsample1": 27,
    "detect": 31,
}
"""Row of each of the authors' other modules."""
_MODULE = re.compile(
    "(?:"
    + "|".join(map(re.escape, sorted({**_STAGES, **_ROWS}, key=len, reverse=True)))
    + r")(?=\.)"
)
_IN_FUSION = (
    (r"^cv1\.", "middle."),
    (r"^cv2\.", "down.0."),
    (r"^downsample\.", "down.1."),
    (r"^cv3\.", "out."),
    (r"^upsample\.upsample_transpose\.", "up."),
)
"""Patterns inside BiFusion → our names."""
_IN_PARTIAL: tuple[tuple[str, Replacement], ...] = (
    (r"^m\.conv1\.", "m.0."),
    (r"^m\.block\.(\d+)\.", lambda match: f"m.{int(match[1]) + 1}."),
)
"""Patterns inside a cross-stage partial block: the first pair of blocks has a name of its own."""
_IN_CHAIN: tuple[tuple[str, Replacement], ...] = (
    (r"^conv1\.", "0."),
    (r"^block\.(\d+)\.", lambda match: f"{int(match[1]) + 1}."),
)
"""Patterns inside a chain, whose first block has a name of its own."""
_IN_HEAD = (
    (r"^cls_convs\.", "class_convs."),
    (r"^reg_convs\.", "box_convs."),
    (r"^cls_preds\.", "class_layers."),
    (r"^reg_preds\.", "box_layers."),
)
"""Patterns inside the head → our names."""
_PARTS = (
    (r"\brbr_dense\.conv\.", "conv."),
    (r"\brbr_dense\.bn\.", "bn."),
    (r"\brbr_1x1\.conv\.", "pointwise."),
    (r"\brbr_1x1\.bn\.", "pointwise_bn."),
    (r"\brbr_identity\.", "identity_bn."),
    (r"\bblock\.(conv|bn)\.", r"\1."),
)
"""Patterns inside a block → our names."""

STEM = "backbone.stem.rbr_dense.conv.weight"
CLASSES = "detect.cls_preds.0.bias"
BINS = ("detect.proj", "detect.proj_conv.weight")
TRAINING_ONLY = ("detect.reg_preds_dist.", "detect.cls_preds_ab.", "detect.reg_preds_ab.")
"""Prefixes of the layers that the authors train with and do not detect with."""
VARIANTS = {16: "n", 32: "s", 48: "m"}
"""Variant of ``cfg/yolov6.yaml`` by the stem's channels."""
INPUT = PreprocessKeys()
"""The input that the weights were trained with: RGB in 0..1, padded evenly."""


def is_network(content: Any) -> bool:
    """Return whether a pickled value is a network of YOLOv6."""
    return (
        isinstance(content, PickledObject)
        and content.name.startswith(PACKAGE)
        and isinstance(content.state, dict)
    )


def find_tensors(network: PickledObject, path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a pickled network as its state dictionary names them.

    Raises:
        DetectorError: the tree of modules is damaged, or a batch norm has another ε than YOLO's.
    """
    tensors: dict[str, StoredTensor] = {}
    for module_path, module in walk(network, "", path):
        eps = module.state.get("eps", YOLO_EPS)
        if eps != YOLO_EPS:
            raise DetectorError(
                f"{module_path!r} has eps {shown(eps)}, expected {YOLO_EPS}", file=path
            )
        prefix = f"{module_path}." if module_path else ""
        tensors |= {f"{prefix}{name}": stored for name, stored in stored_tensors(module)}
    return tensors


def is_yolov6(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of YOLOv6."""
    return CLASSES in state


def with_our_names(state: Mapping[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Return the weights under the names of ``cfg/yolov6.yaml``, for the network's own input.

    Layers for training only and the numbers of the bins are left out.

    Raises:
        DetectorError: its bins are not 0, 1, ….
    """
    weights = without_bins(state, BINS, "YOLOv6")
    kept = {name: t for name, t in weights.items() if not name.startswith(TRAINING_ONLY)}
    if left_out := sorted({name.split(".")[1] for name in weights.keys() - kept.keys()}):
        logger.info(f"left out, since YOLOv6 has them in training only: {', '.join(left_out)}")
    return fit_weights(rename_all(kept, _our_name), INPUT, model)


def class_names(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return COCO's class names if the head has 80 classes; the weights hold no names."""
    return coco_names(count_outputs(state, CLASSES))


def build_network(state: Mapping[str, Tensor], path: Path) -> Detector:
    """Build the network of YOLOv6's weights, with fresh weights.

    Raises:
        DetectorError: the weights are not those of n, s or m, or they are fused.
    """
    if STEM not in state:
        raise DetectorError(
            f"YOLOv6 without {STEM!r}; its n, s and m of version 3 are read, before they are fused",
            file=path,
        )
    width = count_outputs(state, STEM)
    if width not in VARIANTS:
        sizes = ", ".join(f"{count} ({name})" for count, name in VARIANTS.items())
        raise DetectorError(
            f"YOLOv6 with {width} channels in its stem, expected {sizes}", file=path
        )
    return build("yolov6", class_names(state) or count_outputs(state, CLASSES), VARIANTS[width])


def _our_name(name: str) -> str:
    match = _MODULE.match(name)
    if match is None:
        return name
    module, inside = match[0], name[match.end() + 1 :]
    if module in _STAGES:
        is_partial = inside.startswith(("cv", "m."))
        row = _STAGES[module] + is_partial
        inside = renamed(inside, _IN_PARTIAL if is_partial else _IN_CHAIN)
    else:
        row = _ROWS[module]
        if module == "detect":
            inside = renamed(inside, _IN_HEAD)
        elif module.startswith("neck.Bifusion"):
            inside = renamed(inside, _IN_FUSION)
    return f"rows.{row}.{renamed(inside, _PARTS)}"
