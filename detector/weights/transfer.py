"""Start weights: what of a checkpoint, ours or another project's, fits a network to be trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from detector.heads.yolo import Detect
from detector.model.detector import Detector
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import Card, find_card, read_state, shape_of
from detector.weights.interop.blocks import backbone_rows
from detector.weights.interop.layouts import with_our_names
from detector.weights.interop.own import fit_weights

ANCHORS = ".anchors_wh"
COUNTER = ".num_batches_tracked"
"""Of a batch norm: one number, which fits everywhere."""
MAX_LINES = 8
"""Of a report on tensors that did not fit."""


@dataclass(frozen=True)
class TransferReport:
    """What became of start weights.

    Attributes:
        taken: names of the tensors that were copied.
        partly: names of the head's tensors of which all but the classes was.
        left: tensors of the start weights that were not, and why.
        missing: tensors of the network that the start weights do not have at all.
    """

    taken: tuple[str, ...]
    partly: tuple[str, ...]
    left: dict[str, str]
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """A short report to read."""
        rest = [f"  left {name}: {why}" for name, why in self.left.items()]
        rest += [f"  not in the start weights: {name}" for name in self.missing]
        if len(rest) > MAX_LINES:
            rest = [*rest[: MAX_LINES - 1], f"  and {len(rest) - MAX_LINES + 1} more"]
        total = len(self.taken) + len(self.partly) + len(self.left)
        head = f", of the head's {len(self.partly)} all but the classes" if self.partly else ""
        return [f"start weights: {len(self.taken)} of {total} tensors taken{head}", *rest]


def start_from(model: Detector, path: Path) -> TransferReport:
    """Copy every tensor of a weights file that fits: ours, YOLOv5's, another project's.

    Which projects these are says :mod:`detector.weights.interop.layouts`.

    Anchors that the model file gives are kept. Weights of ours for an input of another mean and
    scale are changed for the network's, as those of other projects are.

    Raises:
        DetectorError: the file cannot be read, or nothing in it fits.
    """
    fitted = isinstance(model.head, Detect) and model.head.fitted
    with _errors_name(path):
        return transfer(model, _read(model, path), keep_anchors=fitted)


def start_backbone_from(model: Detector, path: Path) -> TransferReport:
    """Copy a backbone's weights: of another project's classifier, or of a checkpoint of ours.

    Raises:
        DetectorError: the file cannot be read, or it holds no backbone that fits.
    """
    backbone = {f"rows.{index}" for index in backbone_rows(model)}
    with _errors_name(path):
        state = with_our_names(_read(model, path), model)
        return transfer(model, {n: t for n, t in state.items() if _row(n) in {None, *backbone}})


def trainable_card(path: Path) -> Card | None:
    """What start weights say about themselves; nothing, if they were not saved here.

    Raises:
        DetectorError: there is no such file of weights, or they are deployed.
    """
    card = find_card(path)
    if card is not None and card.deployed:
        raise DetectorError(
            "is deployed: its branches and batch norms are fused and cannot be trained; "
            "use the checkpoint that it was deployed from",
            file=path,
        )
    return card


def _read(model: Detector, path: Path) -> dict[str, Tensor]:
    """The tensors of a file; those of ours for the network's input."""
    card = trainable_card(path)
    state = read_state(path)
    return state if card is None else fit_weights(state, card.preprocess, model)


def _row(name: str) -> str | None:
    """The beginning of a name that tells its row, if it is a name of ours."""
    match = re.match(r"rows\.\d+(?=\.)", name)
    return match and match[0]


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    try:
        yield
    except DetectorError as error:
        raise error if error.file else DetectorError(error.message, file=path) from error


def transfer(
    model: Detector, state: Mapping[str, Tensor], keep_anchors: bool = False
) -> TransferReport:
    """Copy every tensor whose name and shape fit; with other classes, all but the head's.

    Args:
        model: is changed.
        state: tensors by name.
        keep_anchors: leave the network's own as they are.

    Raises:
        DetectorError: not one fits.
    """
    own = model.state_dict()
    state = with_our_names(state, model)
    taken: list[str] = []
    mixed = _other_classes(model, state, keep_anchors)
    left: dict[str, str] = {}
    for name, tensor in state.items():
        if name in mixed:
            continue
        if name not in own:
            left[name] = "has no place in this network"
        elif tensor.shape != own[name].shape:
            left[name] = f"is {shape_of(tensor)}, expected {shape_of(own[name])}"
        elif keep_anchors and name.endswith(ANCHORS) and not torch.equal(tensor, own[name]):
            left[name] = "the model file has anchors of its own"
        else:
            taken.append(name)
    if all(name.endswith(COUNTER) for name in taken):
        raise DetectorError(
            f"none of its {len(state)} weights fits this network; they belong to another model file"
        )
    for name in taken:
        own[name].copy_(state[name])
    for name, tensor in mixed.items():
        own[name].copy_(tensor)
    if any(name.endswith(ANCHORS) for name in taken):
        assert isinstance(model.head, Detect)
        model.head.mark_fitted()
    missing = tuple(name for name in own if name not in state)
    return TransferReport(tuple(taken), tuple(mixed), left, missing)


def _other_classes(
    model: Detector, state: Mapping[str, Tensor], keep_anchors: bool
) -> dict[str, Tensor]:
    """The tensors of a Detect head that differ in the number of classes only, by name.

    Its anchors must be those of the start weights: for others, the rows mean something else.
    """
    head, prefix = model.head, f"rows.{len(model.plan) - 1}."
    anchors = state.get(prefix + ANCHORS[1:])
    if not isinstance(head, Detect) or anchors is None or anchors.shape != head.anchors_wh.shape:
        return {}
    if keep_anchors and not torch.equal(anchors, head.anchors_wh):
        return {}
    mixed = {}
    for name, own in head.state_dict(prefix=prefix).items():
        start = state.get(name)
        if start is not None and start.shape != own.shape:
            mixed[name] = head.with_boxes_of(start, own)
    return {name: tensor for name, tensor in mixed.items() if tensor is not None}
