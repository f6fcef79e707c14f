"""Names inside the checkpoints of Ultralytics' YOLOv8 and later (AGPL-3.0), otherwise as YOLOv5's.

Their head has a list for boxes, ``cv2.LEVEL.LAYER``, and one for classes, ``cv3.LEVEL.LAYER``. The
numbers of the bins are stored as the weights of a convolution, ``dfl``.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detector.weights.interop.order import rename_all, renamed

PACKAGE = "ultralytics."
"""Package of the networks of YOLOv8 and later."""
NETWORKS = ("DetectionModel", "ClassificationModel")
"""Classes of networks that are read."""

_BINS = ".dfl.conv.weight"
_PARTS = (
    (r"^cv2\.(\d)\.2\.", r"box_layers.\1."),
    (r"^cv3\.(\d)\.2\.", r"class_layers.\1."),
    (r"^cv2\.(\d)\.", r"box_convs.\1."),
    (r"^cv3\.(\d)\.", r"class_convs.\1."),
)
"""Patterns inside the head → our names."""
_REPCONV = (
    (r"\.conv1\.(conv|bn)\.", r".\1."),
    (r"\.conv2\.conv\.", ".pointwise."),
    (r"\.conv2\.bn\.", ".pointwise_bn."),
)
"""Patterns of RepConv's branches → our names."""


def with_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under our names; names of other networks are unchanged."""
    bins = next((name for name in state if name.endswith(_BINS)), None)
    if bins is None:
        return dict(state)
    head = bins.removesuffix("dfl.conv.weight")
    kept = {name: tensor for name, tensor in state.items() if name != bins}
    return rename_all(kept, lambda name: _our_name(name, head))


def _our_name(name: str, head: str) -> str:
    inside = name.removeprefix(head)
    if inside == name:
        return renamed(name, _REPCONV)
    return head + renamed(inside, _PARTS)
