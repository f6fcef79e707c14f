"""YOLOv7's names for what YOLOv5 does not have: RepConv's branches and IDetect's vectors.

Its checkpoints and state dictionaries (WongKinYiu/yolov7, models/common.py and models/yolo.py) are
otherwise YOLOv5's, and its ``yolov7.yaml`` and ``yolov7-tiny.yaml`` have the rows of
``cfg/yolov7.yaml`` and ``cfg/yolov7_tiny.yaml`` in the same order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_BRANCHES = {
    "rbr_dense.0": "conv",
    "rbr_dense.1": "bn",
    "rbr_1x1.0": "pointwise",
    "rbr_1x1.1": "pointwise_bn",
    "rbr_identity": "identity_bn",
}
_BRANCH = re.compile(rf"(?<=^rows\.)(\d+)\.({'|'.join(map(re.escape, _BRANCHES))})$")
_IMPLICIT = re.compile(r"\.(ia|im)\.(\d+)$")
_VECTORS = {"ia": "added", "im": "factor"}
"""Before and after the convolution of a level; see :mod:`detector.heads.implicit`."""


def our_path(path: str) -> str:
    """The path of a module under our names.

    >>> our_path("rows.102.rbr_dense.1")
    'rows.102.bn'
    """
    return _BRANCH.sub(lambda match: f"{match[1]}.{_BRANCHES[match[2]]}", path)


def with_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under our names; those of other networks stay as they are."""
    return dict(_renamed(name, tensor) for name, tensor in state.items())


def _renamed(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    path, _, part = name.rpartition(".")
    implicit = _IMPLICIT.search(path)
    if part == "implicit" and implicit and tensor.ndim == 4:
        head, (kind, level) = path[: implicit.start()], implicit.groups()
        return f"{head}.m.{level}.{_VECTORS[kind]}", tensor.squeeze(0)
    return f"{our_path(path)}.{part}" if path else name, tensor
