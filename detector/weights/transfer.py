"""Start weights: what of a checkpoint, ours or another project's, fits a network to be trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detector.heads.head import Adapted, hook
from detector.model.detector import Detector
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import CheckpointMetadata, find_metadata, read_state, shape_of
from detector.weights.interop.blocks import backbone_rows
from detector.weights.interop.layouts import with_our_names
from detector.weights.interop.own import fit_weights

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
    with _errors_name(path):
        return transfer(model, _read(model, path), keep_fitted=True)


def start_backbone_from(model: Detector, path: Path) -> TransferReport:
    """Copy a backbone's weights: of another project's classifier, or of a checkpoint of ours.

    Raises:
        DetectorError: the file cannot be read, or it holds no backbone that fits.
    """
    backbone = {f"rows.{index}" for index in backbone_rows(model)}
    with _errors_name(path):
        state = with_our_names(_read(model, path), model)
        return transfer(model, {n: t for n, t in state.items() if _row(n) in {None, *backbone}})


def trainable_metadata(path: Path) -> CheckpointMetadata | None:
    """What start weights say about themselves; nothing, if they were not saved here.

    Raises:
        DetectorError: there is no such file of weights, or they are deployed.
    """
    card = find_metadata(path)
    if card is not None and card.deployed:
        raise DetectorError(
            "is deployed: its branches and batch norms are fused and cannot be trained; "
            "use the checkpoint that it was deployed from",
            file=path,
        )
    return card


def _read(model: Detector, path: Path) -> dict[str, Tensor]:
    """The tensors of a file; those of ours for the network's input."""
    card = trainable_metadata(path)
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
    model: Detector, state: Mapping[str, Tensor], keep_fitted: bool = False
) -> TransferReport:
    """Copy every tensor whose name and shape fit; with other classes, all but the head's.

    Args:
        model: is changed.
        state: tensors by name.
        keep_fitted: leave what the model file fits to the data, anchors, as it is.

    Raises:
        DetectorError: not one fits.
    """
    own = model.state_dict()
    state = with_our_names(state, model)
    taken: list[str] = []
    adapted = _adapted(model, state, keep_fitted)
    left: dict[str, str] = {}
    for name, tensor in state.items():
        if name in adapted.partly:
            continue
        if name not in own:
            left[name] = "has no place in this network"
        elif tensor.shape != own[name].shape:
            left[name] = f"is {shape_of(tensor)}, expected {shape_of(own[name])}"
        elif name in adapted.refused:
            left[name] = adapted.refused[name]
        else:
            taken.append(name)
    if all(name.endswith(COUNTER) for name in taken):
        raise DetectorError(
            f"none of its {len(state)} weights fits this network; they belong to another model file"
        )
    for name in taken:
        own[name].copy_(state[name])
    for name, tensor in adapted.partly.items():
        own[name].copy_(tensor)
    prefix = _head_prefix(model)
    loaded = {name.removeprefix(prefix) for name in taken if name.startswith(prefix)}
    hook(model.head, "mark_loaded")(loaded)
    missing = tuple(name for name in own if name not in state)
    return TransferReport(tuple(taken), tuple(adapted.partly), left, missing)


def _adapted(model: Detector, state: Mapping[str, Tensor], keep_fitted: bool) -> Adapted:
    """Return what the head makes of its start weights, by the names of the whole network."""
    prefix = _head_prefix(model)
    start = {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}
    adapted: Adapted = hook(model.head, "adapt")(start, keep_fitted)
    return Adapted(
        partly={f"{prefix}{name}": tensor for name, tensor in adapted.partly.items()},
        refused={f"{prefix}{name}": reason for name, reason in adapted.refused.items()},
    )


def _head_prefix(model: Detector) -> str:
    return f"rows.{len(model.plan) - 1}."
