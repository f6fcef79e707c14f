"""NMS inside an ONNX file, by the rule of ``detector.runtime.nms.nms``.

ONNX's NonMaxSuppression computes the IoU as torchvision does and keeps a box whose IoU equals the
threshold, so the boxes are the same. It returns one list of (image, class, box) for all images. The
kept scores are scattered into a tensor of all candidates, which is −1 elsewhere, and the top k of
each image are taken from it: in the order of the scores, ties by box, then by class. Rows without a
box have score 0 and class −1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError

NETWORK_OUTPUTS = ("network_boxes", "network_scores")
"""Names of the network's raw boxes and scores inside a file with NMS."""

_HEAD = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
nms (float[batch, candidates, 4] boxes, float[batch, candidates, classes] every_score)
  => (float[batch, detections, 4] boxes_xyxy, float[batch, detections] scores,
      int64[batch, detections] class_ids)
{{
"""

_ONE_LABEL = """
  class = ArgMax<axis = 2, keepdims = 1>(every_score)
  score = GatherElements<axis = 2>(every_score, class)
  {groups}
  candidate_scores = Squeeze(score, axis_2)
  candidate_classes = Squeeze(class, axis_2)
"""
_OF_ONE_CLASS = """
  is_own = Equal(class, class_numbers)
  own_score = Where(is_own, every_score, nothing)
  by_group = Transpose<perm = [0, 2, 1]>(own_score)
"""
_OF_ANY_CLASS = "by_group = Transpose<perm = [0, 2, 1]>(score)"
_BEST = """
  best_scores, places = TopK<axis = 1>(kept, count)
  best_boxes = Identity(places)
  best_classes = GatherElements<axis = 1>(candidate_classes, places)
"""

_MANY_LABELS = """
  by_group = Transpose<perm = [0, 2, 1]>(every_score)
  candidate_scores = Identity(every_score)
"""
_BEST_OF_MANY = """
  best_scores, places = TopK<axis = 1>(kept, count)
  best_boxes = Div(places, classes)
  best_classes = Mod(places, classes)
"""

_GREEDY = """
  selected = NonMaxSuppression(boxes, by_group, limit, iou, below_confidence)
  index = Gather<axis = 1>(selected, columns)
  selected_scores = GatherND(candidate_scores, index)
  shape = Shape(candidate_scores)
  empty = Expand(nothing, shape)
  scattered = ScatterND(empty, index, selected_scores)
  kept = Reshape(scattered, one_row)
  row = Shape<start = 1>(kept)
  count = Min(limit, row)
"""

_TAIL = """
  is_box = GreaterOrEqual(best_scores, zero)
  scores = Where(is_box, best_scores, zero)
  class_ids = Where(is_box, best_classes, no_class)
  box_index = Unsqueeze(best_boxes, axis_2)
  found_boxes = GatherND<batch_dims = 1>(boxes, box_index)
  is_row = Unsqueeze(is_box, axis_2)
  boxes_xyxy = Where(is_row, found_boxes, zero)
}}
"""


def with_nms(proto: Any, settings: NmsSettings, classes: int) -> Any:
    """Append NMS to a network.

    Args:
        proto: an onnx.ModelProto whose outputs are ``NETWORK_OUTPUTS``.
        settings: thresholds and limits. The number of candidates is not limited.
        classes: number of classes.

    Returns:
        A model with outputs boxes_xyxy (b, k, 4), scores (b, k), class_ids (b, k) int64, best
        first; k is ``max_detections``, or the number of candidates where that is smaller.

    Raises:
        DetectorError: ONNX's operator does not support the settings.
    """
    import onnx
    from onnx import compose, numpy_helper, parser

    opset = next(item.version for item in proto.opset_import if item.domain == "")
    nms_model = parser.parse_model(_text(settings, opset, proto.ir_version))
    used = {name for node in nms_model.graph.node for name in node.input}
    nms_model.graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in _constants(settings, classes).items()
        if name in used
    )
    compose.add_prefix_graph(
        nms_model.graph, "nms/", rename_inputs=False, rename_outputs=False, inplace=True
    )
    onnx.checker.check_model(nms_model)
    inputs = [value.name for value in nms_model.graph.input]
    io_map = list(zip(NETWORK_OUTPUTS, inputs, strict=True))
    merged = compose.merge_models(proto, nms_model, io_map=io_map)
    del merged.opset_import[len(proto.opset_import) :]  # merging lists both models' sets
    return merged


def _text(settings: NmsSettings, opset: int, ir_version: int) -> str:
    if settings.nms_method != "nms":
        raise DetectorError(f"a file's NMS method is 'nms', found {settings.nms_method!r}")
    if settings.multi_label and settings.class_agnostic:
        raise DetectorError(
            "a file's NMS supports multi_label or class_agnostic, found both of them"
        )
    if settings.multi_label:
        parts = [_HEAD, _MANY_LABELS, _GREEDY, _BEST_OF_MANY, _TAIL]
    else:
        parts = [_HEAD, _ONE_LABEL, _GREEDY, _BEST, _TAIL]
    groups = _OF_ANY_CLASS if settings.class_agnostic else _OF_ONE_CLASS
    return "".join(parts).format(ir_version=ir_version, opset=opset, groups=groups.strip())


def _constants(settings: NmsSettings, classes: int) -> dict[str, Any]:
    """Return the constants of the graph by their names in the templates above."""
    confidence = np.float32(settings.confidence)
    return {
        "limit": np.array([settings.max_detections], np.int64),
        "iou": np.array([settings.iou], np.float32),
        # The operator keeps scores above its threshold; ours keeps scores equal to it, too.
        "below_confidence": np.nextafter(np.array([confidence]), np.float32(-1)),
        "columns": np.array([0, 2, 1] if settings.multi_label else [0, 2], np.int64),
        "class_numbers": np.arange(classes, dtype=np.int64),
        "classes": np.array(classes, np.int64),
        "nothing": np.array(-1, np.float32),
        "zero": np.array(0, np.float32),
        "no_class": np.array(-1, np.int64),
        "axis_2": np.array([2], np.int64),
        "one_row": np.array([0, -1], np.int64),
    }
