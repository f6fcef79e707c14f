"""YOLOv5 checkpoints (versions 5 to 7): the network's YAML, its class names and its weights.

Those of YOLOv7, and of YOLOv8 and later, differ in some names only, see
:mod:`detector.weights.interop.yolov7` and :mod:`detector.weights.interop.ultralytics`.

The checkpoint is a pickled ``models.yolo.Model``, read as a tree of :class:`PickledObject`. Weights
are read as float32, from the exponential moving average (EMA) if there is one. Anchors are stored
in grid units and converted to pixels; buffers that are caches, such as ``anchor_grid``, are
ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detector.heads.head import hook
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.interop import ultralytics, yolov7
from detector.weights.interop.inner_yaml import is_text, model_file_text
from detector.weights.pickles.budget import Budget
from detector.weights.pickles.machine import PickledObject, StoredTensor
from detector.weights.pickles.modules import children, stored_tensors, walk
from detector.weights.pickles.pickles import looks_like_checkpoint, open_checkpoint

SUFFIXES = (".pt", ".pth", ".pdparams")
"""Usual suffixes of the checkpoints of PyTorch and Paddle."""
CACHES = ("anchor_grid", "grid", "relative_position_index")
"""Buffers that are computed, and not read: from the anchors, and from the side of a window."""
WRAPPERS = ("DataParallel", "DistributedDataParallel")
"""Classes of torch that hold the network as ``module``."""
ACTIVATION = ".act"
"""Suffix of the paths of activations."""
SETTINGS = ("eps", "kernel_size", "stride", "padding", "dilation", "negative_slope")
"""Module attributes that affect the output but do not show in the weights' shapes."""
LARGEST = 2**31 - 1
"""Largest number that a module attribute may hold. Python refuses to print very long ones."""


@dataclass(frozen=True)
class ForeignModel:
    """Contents of another project's checkpoint that are used here.

    Attributes:
        path: the checkpoint.
        yaml_text: the model file inside it.
        names: class names.
        state: weights under the names of the network that is built from ``yaml_text``.
        settings: module attributes and activations by path, ``rows.0.bn.eps``, ``rows.0.act``.
    """

    path: Path
    yaml_text: str
    names: tuple[str, ...]
    state: dict[str, Tensor]
    settings: dict[str, Any]


def is_foreign(path: str | Path) -> bool:
    """Return whether a file is a checkpoint of another project, by its suffix or first bytes."""
    return Path(path).suffix.lower() in SUFFIXES or looks_like_checkpoint(path)


def read_yolov5(path: str | Path) -> ForeignModel:
    """Read a YOLOv5 checkpoint without running any code in it.

    Raises:
        DetectorError: the checkpoint is damaged, or holds no YOLOv5 network.
    """
    path = Path(path)
    with open_checkpoint(path) as content:
        network = _find_network(content, path)
        names = _names(network.state, path)
        state: dict[str, Tensor] = {}
        settings: dict[str, Any] = {}
        rows = children(network).get("model")
        if not isinstance(rows, PickledObject) or not isinstance(rows.state, dict):
            raise DetectorError("its network has no rows", file=path)
        budget = Budget(path)
        for module_path, module in walk(rows, "rows", path):
            state.update(_tensors(module, module_path, budget))
            settings.update(_settings(module, yolov7.our_path(module_path), path))
        text = model_file_text(network.state["yaml"], settings, path)
    named = ultralytics.with_our_names(yolov7.with_our_names(state))
    return ForeignModel(path, text, names, named, settings)


def find_yolov5_names(path: Path) -> tuple[str, ...]:
    """Return the class names of a YOLOv5 checkpoint; empty for other checkpoints."""
    try:
        with open_checkpoint(path) as content:
            return _names(_find_network(content, path).state, path)
    except DetectorError:
        return ()


def load_yolov5(path: str | Path) -> Detector:
    """Build the network from the YAML inside a checkpoint and load all weights, in eval mode.

    Raises:
        DetectorError: the checkpoint is damaged, holds no YOLOv5 network, or its weights do not
            fit the YAML's network.
    """
    foreign = read_yolov5(path)
    file = YamlFile(foreign.path, foreign.yaml_text)
    model = build_model_file(check_model_file(file), foreign.names)
    _check_fit(model, foreign)
    model.load_state_dict(foreign.state, strict=True)
    hook(model.head, "mark_loaded")(model.head.state_dict().keys())
    return model.eval()


def _find_network(content: Any, path: Path) -> PickledObject:
    """Return the averaged network (EMA), else the trained one, else the object itself."""
    candidates = [content]
    if isinstance(content, dict):
        candidates = [content.get("ema"), content.get("model")]
    for candidate in map(_unwrapped, candidates):
        if isinstance(candidate, PickledObject) and _is_unread(candidate.name):
            raise DetectorError(
                f"a checkpoint of Ultralytics that holds a {candidate.name.rpartition('.')[2]}; "
                f"expected {' or '.join(ultralytics.NETWORKS)}",
                file=path,
            )
        if (
            isinstance(candidate, PickledObject)
            and isinstance(candidate.state, dict)
            and isinstance(candidate.state.get("yaml"), dict)
        ):
            return candidate
    raise DetectorError("no YOLOv5 network with its YAML in this checkpoint", file=path)


def _is_unread(name: str) -> bool:
    return name.startswith(ultralytics.PACKAGE) and not name.endswith(ultralytics.NETWORKS)


def _unwrapped(candidate: Any) -> Any:
    """Return the network inside DataParallel or DistributedDataParallel."""
    wraps = isinstance(candidate, PickledObject) and candidate.name.endswith(WRAPPERS)
    if not wraps or not isinstance(candidate.state, dict):
        return candidate
    return children(candidate).get("module")


def _names(state: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = state.get("names")
    if isinstance(names, dict):
        names = [names.get(i) for i in range(len(names))]
    if not isinstance(names, list) or not names or not all(is_text(name) for name in names):
        raise DetectorError("has no list of class names", file=path)
    return tuple(names)


def _tensors(
    module: PickledObject, module_path: str, budget: Budget
) -> Iterator[tuple[str, Tensor]]:
    """Yield a module's parameters and buffers under our names, anchors in pixels."""
    stride = module.state.get("stride")
    for name, stored in stored_tensors(module):
        if name in CACHES:
            continue
        tensor = budget.read(stored)
        if name == "anchors" and isinstance(stride, StoredTensor):
            yield f"{module_path}.anchors_wh", _in_pixels(tensor, budget.read(stride))
        else:
            yield f"{module_path}.{name}", tensor


def _settings(module: PickledObject, path: str, file: Path) -> Iterator[tuple[str, Any]]:
    """Yield a module's attributes in ``SETTINGS`` by path, and the class of an activation."""
    if path.endswith(ACTIVATION):
        yield path, module.name.rpartition(".")[2]
    for name in SETTINGS:
        value = module.state.get(name)
        if all(isinstance(number, (int, float)) for number in _pair(value)):
            if not all(abs(number) <= LARGEST for number in _pair(value)):
                raise DetectorError(f"{path!r} has a {name} that is too large", file=file)
            yield f"{path}.{name}", value


def _pair(value: Any) -> tuple[Any, ...]:
    """Expand a kernel size, stride, … to (height, width); torch may store one number for both."""
    return value if isinstance(value, tuple) else (value, value)


def _in_pixels(anchors: Tensor, strides: Tensor) -> Tensor:
    """Convert anchors (levels, n, 2) from grid units to pixels by the strides (levels,).

    Anchors of another shape are returned unchanged; they fail the comparison of shapes later.
    """
    if anchors.ndim != 3 or strides.shape != anchors.shape[:1]:
        return anchors
    return anchors * strides.view(-1, 1, 1)


def _check_fit(model: Detector, foreign: ForeignModel) -> None:
    """Raise DetectorError unless weights and settings are those of the YAML's network."""
    norms = [name for name in model.state_dict() if name.endswith(".running_mean")]
    if norms and not any(name.endswith(".running_mean") for name in foreign.state):
        raise DetectorError(
            "its convolutions and batch norms are fused, which cannot be undone; use the "
            "checkpoint as it was before fusing",
            file=foreign.path,
        )
    issue = next(chain(_weight_issues(model, foreign), _setting_issues(model, foreign)), None)
    if issue is not None:
        message = f"its weights do not fit its YAML: {issue}"
        raise DetectorError(message, file=foreign.path)


def _weight_issues(model: Detector, foreign: ForeignModel) -> Iterator[str]:
    expected = model.state_dict()
    for name in expected:
        if name not in foreign.state:
            yield f"{name!r} is missing"
    for name, tensor in foreign.state.items():
        if name not in expected:
            yield f"{name!r} has no place in the network"
        elif tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            yield f"{name!r} has shape {found}, expected {wanted}"
        elif not bool(torch.isfinite(tensor).all()):
            yield f"{name!r} holds numbers that are not finite"


def _setting_issues(model: Detector, foreign: ForeignModel) -> Iterator[str]:
    for path, module in model.named_modules():
        found, ours = foreign.settings.get(path), type(module).__name__
        if found not in (None, ours):
            yield f"{path!r} is {found}, expected {ours}; its YAML needs `activation:`"
        for name in SETTINGS:
            value, expected = foreign.settings.get(f"{path}.{name}"), getattr(module, name, None)
            if None not in (value, expected) and _pair(value) != _pair(expected):
                yield f"{path!r} has {name} {value}, expected {expected}"
