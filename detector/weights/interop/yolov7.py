"""Renaming of modules that YOLOv7 and forks of YOLOv5 add: RepVGG branches, IDetect's vectors.

Otherwise YOLOv7's checkpoints and state dictionaries (WongKinYiu/yolov7, models/common.py,
models/yolo.py) are like YOLOv5's, and its ``yolov7.yaml`` and ``yolov7-tiny.yaml`` have the rows
of ``cfg/yolov7.yaml`` and ``cfg/yolov7_tiny.yaml`` in the same order. Some forks of YOLOv5 use
the original RepVGG block (DingXiaoH/RepVGG, repvgg.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from detector.weights.interop.order import rename_all

_ROW = r"(rows\.\d+(?:\.\d+)?)\."
_PARTS = {
    re.compile(_ROW + theirs): rf"\1.{ours}"
    for theirs, ours in (
        (r"rbr_dense\.(?:0|conv)", "conv"),
        (r"rbr_dense\.(?:1|bn)", "bn"),
        (r"rbr_1x1\.(?:0|conv)", "pointwise"),
        (r"rbr_1x1\.(?:1|bn)", "pointwise_bn"),
        (r"rbr_identity", "identity_bn"),
        (r"nonlinearity", "act"),
    )
}
"""Patterns of module paths → our paths. YOLOv7 numbers the layers of a branch, RepVGG names them;
a row is one block, or a sequence of blocks."""
_IMPLICIT = re.compile(r"\.(ia|im)\.(\d+)\.implicit$")
_VECTORS = {"ia": "added", "im": "factor"}
"""Names of IDetect's vectors before and after a level's convolution; see
:mod:`detector.heads.implicit`."""


def our_path(path: str) -> str:
    """Return a module's path under our names; a path without a counterpart is unchanged.

    >>> our_path("rows.102.rbr_dense.1")
    'rows.102.bn'
    """
    for theirs, ours in _PARTS.items():
        if match := theirs.fullmatch(path):
            return match.expand(ours)
    return path


def with_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under our names; names of other networks are unchanged."""
    squeezed = {n: t.squeeze(0) if _is_vector(n, t) else t for n, t in state.items()}
    return rename_all(squeezed, lambda name: _our_name(name, state[name]))


def _is_vector(name: str, tensor: Tensor) -> bool:
    return _IMPLICIT.search(name) is not None and tensor.ndim == 4


def _our_name(name: str, tensor: Tensor) -> str:
    if _is_vector(name, tensor):
        return _IMPLICIT.sub(lambda match: f".m.{match[2]}.{_VECTORS[match[1]]}", name)
    path, _, part = name.rpartition(".")
    return f"{our_path(path)}.{part}" if path else name
