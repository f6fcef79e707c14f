"""Plain state dictionaries: names and tensors without a network, usable as start weights only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from detector.utils.errors import DetectorError
from detector.weights.interop import ultralytics, yolov6, yolov7
from detector.weights.interop.networks import YOLO, Origin, find_network
from detector.weights.interop.order import rename_all
from detector.weights.pickles.budget import Budget
from detector.weights.pickles.machine import StoredTensor
from detector.weights.pickles.pickles import open_checkpoint

WRAPPERS = ("state_dict", "model_state_dict", "ema", "model")
"""Keys under which training scripts store the state dictionary, in order of preference."""

_OF_YOLO = re.compile(r"(?:module\.)?model\.\d+\.(?:anchors|anchor_grid|dfl\.conv\.weight)")
"""Buffers of the heads of YOLOv5, YOLOv7, YOLOv8 and later."""


class NoStateDictError(DetectorError):
    """A checkpoint holds no dictionary of tensors."""


class StateDict(NamedTuple):
    """Tensors by name, and the family that they are of, if it is known."""

    tensors: dict[str, Tensor]
    origin: Origin | None


def read_state_dict(path: str | Path) -> StateDict:
    """Read a checkpoint that is or contains a dictionary of tensors, without running its code.

    A pickled network of YOLOv6 counts as the dictionary of its tensors.

    The prefix ``module.`` of DataParallel is removed, YOLOv5's ``model.3.`` becomes ``rows.3.``,
    and tensors inside the modules of YOLOv7, YOLOv8 and later are renamed to ours.

    Raises:
        NoStateDictError: the checkpoint holds no state dictionary.
        DetectorError: the checkpoint is damaged, or two tensors have the same place.
    """
    path = Path(path)
    with open_checkpoint(path) as content:
        tensors = _find(content, path)
        if not tensors:
            raise NoStateDictError("neither a network nor a dictionary of weights in it", file=path)
        budget = Budget(path)
        read = {name: budget.read(stored) for name, stored in tensors.items()}
    renamed = rename_all(read, _our_name, path)
    state = ultralytics.with_our_names(yolov7.with_our_names(renamed))
    if any(map(_OF_YOLO.fullmatch, tensors)):
        return StateDict(state, YOLO)
    network = find_network(state)
    return StateDict(state, network.origin if network else None)


def _find(content: Any, path: Path) -> dict[str, StoredTensor]:
    inside = content if isinstance(content, dict) else {}
    for candidate in (content, *(inside.get(key) for key in WRAPPERS)):
        if isinstance(candidate, dict) and candidate:
            tensors = {k: v for k, v in candidate.items() if isinstance(v, StoredTensor)}
            if len(tensors) == len(candidate) and all(isinstance(k, str) for k in tensors):
                return tensors
        elif yolov6.is_network(candidate):
            return yolov6.find_tensors(candidate, path)
    return {}


def _our_name(name: str) -> str:
    return re.sub(r"^(module\.)?(model\.(?=\d+\.))?", _prefix, name, count=1)


def _prefix(match: re.Match[str]) -> str:
    return "rows." if match[2] else ""
