"""Start weights: copy the tensors of a checkpoint, ours or foreign, that fit a network to train."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detector.heads.classes import SharedClasses
from detector.heads.head import Adapted, hook
from detector.model.detector import Detector
from detector.structures.class_names import are_known
from detector.utils.errors import DetectorError, first_names
from detector.weights.checkpoint import (
    CheckpointMetadata,
    find_class_names,
    find_metadata,
    read_state,
    shape_of,
)
from detector.weights.interop.blocks import backbone_rows
from detector.weights.interop.layouts import with_our_names
from detector.weights.interop.own import fit_weights

COUNTER = ".num_batches_tracked"
"""Suffix of a batch norm's step counter, a scalar that fits any network and proves nothing."""
MAX_LINES = 8
"""Maximum number of lines of a transfer report that list tensors without a match."""


@dataclass(frozen=True)
class TransferReport:
    """Outcome of copying start weights into a network.

    Attributes:
        loaded: names of the tensors that were copied.
        partly_loaded: names of the head's tensors that were copied in part: without the classes,
            or with those of the same names.
        skipped: tensors of the start weights that were not copied, each with the reason.
        missing: tensors of the network that the start weights do not have.
        classes: classes that were matched by name; None if they are the same in the same order,
            or if names are unknown.
        by_number: True if classes were taken in their order, since the start weights or the
            network have no class names.
    """

    loaded: tuple[str, ...]
    partly_loaded: tuple[str, ...]
    skipped: dict[str, str]
    missing: tuple[str, ...]
    classes: SharedClasses | None = None
    by_number: bool = False

    def lines(self) -> list[str]:
        """Return a short report as lines of text."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name)
        rest = [f"  skipped {first_names(names, 1)}: {why}" for why, names in reasons.items()]
        rest += [f"  not in the start weights: {name}" for name in self.missing]
        if len(rest) > MAX_LINES:
            rest = [*rest[: MAX_LINES - 1], f"  and {len(rest) - MAX_LINES + 1} more"]
        total = len(self.loaded) + len(self.partly_loaded) + len(self.skipped)
        partly = len(self.partly_loaded)
        head = f", {partly} of the head {self._matched()}" if partly else ""
        lines = [f"start weights: {len(self.loaded)} of {total} tensors loaded{head}"]
        lines += ["  classes by number: there are no names to match them by"] * self.by_number
        return [*lines, *rest]

    def _matched(self) -> str:
        classes = self.classes
        if classes is None:
            return "except for the classes"
        if not classes.own:
            return f"without the classes: none of the {classes.count} is in the file by name"
        return f"with {len(classes.own)} of {classes.count} classes matched by name"


def start_from(model: Detector, path: Path) -> TransferReport:
    """Copy every tensor of a weights file that fits, from this package or another project.

    The supported projects are listed in :mod:`detector.weights.interop.layouts`. Anchors that the
    model file gives are kept. Weights trained for another input mean and scale are converted to
    the network's.

    Raises:
        DetectorError: the file cannot be read, or nothing in it fits.
    """
    with _file_in_errors(path):
        state = _read(model, path)
        names = find_class_names(path, state)
        return transfer(model, state, keep_fitted=True, names=names)


def start_backbone_from(model: Detector, path: Path) -> TransferReport:
    """Copy a backbone's weights from a classifier of another project or from a checkpoint of ours.

    Raises:
        DetectorError: the file cannot be read, or it holds no backbone that fits.
    """
    backbone = {f"rows.{index}" for index in backbone_rows(model)}
    with _file_in_errors(path):
        state = with_our_names(_read(model, path), model)
        return transfer(model, {n: t for n, t in state.items() if _row(n) in {None, *backbone}})


def trainable_metadata(path: Path) -> CheckpointMetadata | None:
    """Return the metadata of start weights, or None for a file of another project.

    Raises:
        DetectorError: there is no such weights file, or its network is deployed.
    """
    metadata = find_metadata(path)
    if metadata is not None and metadata.deployed:
        raise DetectorError(
            "is deployed: its branches and batch norms are fused and cannot be trained; "
            "use the checkpoint that it was deployed from",
            file=path,
        )
    return metadata


def _read(model: Detector, path: Path) -> dict[str, Tensor]:
    """Read a file's tensors; those of our checkpoints are adapted to the network's input."""
    metadata = trainable_metadata(path)
    state = read_state(path)
    return state if metadata is None else fit_weights(state, metadata.preprocess, model)


def _row(name: str) -> str | None:
    """Return the ``rows.N`` prefix of a parameter name, or None."""
    match = re.match(r"rows\.\d+(?=\.)", name)
    return match and match[0]


@contextmanager
def _file_in_errors(path: Path) -> Iterator[None]:
    """Add the file to errors that name none."""
    try:
        yield
    except DetectorError as error:
        raise error if error.file else DetectorError(error.message, file=path) from error


def transfer(
    model: Detector,
    state: Mapping[str, Tensor],
    keep_fitted: bool = False,
    names: Sequence[str] | None = None,
) -> TransferReport:
    """Copy every tensor whose name and shape fit; of a head with other classes, what it adapts.

    Classes are matched by name where both sides have names, and by number otherwise.

    Args:
        model: network to copy into; it is changed.
        state: tensors by name.
        keep_fitted: keep the network's values that were fitted to data, the anchors.
        names: class names of the start weights, empty if they have none; None matches by number.

    Raises:
        DetectorError: no tensor fits.
    """
    own = model.state_dict()
    state = with_our_names(state, model)
    loaded: list[str] = []
    classes = _shared_classes(model.names, names)
    adapted = _adapted(model, state, keep_fitted, classes)
    skipped: dict[str, str] = {}
    for name, tensor in state.items():
        if name in adapted.partly:
            continue
        if name not in own:
            skipped[name] = "has no place in this network"
        elif tensor.shape != own[name].shape:
            skipped[name] = f"is {shape_of(tensor)}, expected {shape_of(own[name])}"
        elif name in adapted.refused:
            skipped[name] = adapted.refused[name]
        else:
            loaded.append(name)
    if all(name.endswith(COUNTER) for name in loaded):
        raise DetectorError(
            f"none of its {len(state)} weights fits this network; they belong to another model file"
        )
    for name in loaded:
        own[name].copy_(state[name])
    for name, tensor in adapted.partly.items():
        own[name].copy_(tensor)
    prefix = _head_prefix(model)
    of_head = {name.removeprefix(prefix) for name in loaded if name.startswith(prefix)}
    hook(model.head, "mark_loaded")(of_head)
    missing = tuple(name for name in own if name not in state)
    whole = any(map(hook(model.head, "class_rows"), of_head))
    by_number = whole and names is not None and not (are_known(names) and are_known(model.names))
    return TransferReport(
        tuple(loaded), tuple(adapted.partly), skipped, missing, classes, by_number
    )


def _shared_classes(own: Sequence[str], start: Sequence[str] | None) -> SharedClasses | None:
    """Match classes by name; None if they are the same, or the names of either side are unknown."""
    if not (are_known(own) and are_known(start)) or tuple(own) == tuple(start):
        return None
    return SharedClasses.find(own, start)


def _adapted(
    model: Detector,
    state: Mapping[str, Tensor],
    keep_fitted: bool,
    classes: SharedClasses | None,
) -> Adapted:
    """Return the start weights that the head adapts or refuses, by names of the whole network."""
    prefix = _head_prefix(model)
    start = {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}
    adapted: Adapted = hook(model.head, "adapt")(start, keep_fitted, classes)
    return Adapted(
        partly={f"{prefix}{name}": tensor for name, tensor in adapted.partly.items()},
        refused={f"{prefix}{name}": reason for name, reason in adapted.refused.items()},
    )


def _head_prefix(model: Detector) -> str:
    return f"rows.{len(model.plan) - 1}."
