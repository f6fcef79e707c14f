"""Models to compare: networks in any format, and files of predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.data.formats.names import match_names
from detector.runtime.backends.backend import Backend
from detector.utils import system
from detector.utils.errors import DetectorError, shown

SHOWN_NAMES = 5
"""Largest number of class names in an error."""

MAX_MODELS = 26
"""Largest number of models: each has a letter."""

PREDICTIONS_SUFFIX = ".json"
WEIGHTS_BESIDE = {".xml": ".bin"}
"""Suffix of a file → suffix of the file beside it that holds its weights."""


@dataclass(frozen=True)
class Contender:
    """A model to compare.

    Attributes:
        name: what it is called in tables and messages.
        file: its file; ``Path()`` for a network in memory.
        backend: the network; None for predictions.
    """

    name: str
    file: Path
    backend: Backend | None

    @classmethod
    def open(cls, model: Any, open_backend: Callable[[Any], Backend]) -> Contender:
        """Open a model: a file, or a network in memory."""
        if not isinstance(model, (str, Path)):
            return cls("network in memory", Path(), open_backend(model))
        path = Path(model)
        is_network = path.suffix.lower() != PREDICTIONS_SUFFIX
        return cls(str(model), path, open_backend(path) if is_network else None)

    def size_mb(self) -> float | None:
        """Return the size of the network's files in millions of bytes; None without a network."""
        if self.backend is None or self.file == Path():
            return None
        beside = WEIGHTS_BESIDE.get(self.file.suffix.lower())
        files = [self.file, *([] if beside is None else [self.file.with_suffix(beside)])]
        return sum(file.stat().st_size for file in files) / 1e6


def check_number(models: Sequence[object]) -> None:
    """Raise DetectorError unless there are two or more models, and a letter for each."""
    if not 2 <= len(models) <= MAX_MODELS:
        found = f"1, {models[0]}" if len(models) == 1 else str(len(models))
        raise DetectorError(f"expected two models or more, up to {MAX_MODELS}, found {found}")
    if system.world_size() > 1:
        raise DetectorError("models are compared in one process; run it without torchrun")


def networks_of(models: Sequence[Contender]) -> list[Backend]:
    """Return the networks of those models that are no predictions.

    Raises:
        DetectorError: they have not all the same task, and the same classes by name.
    """
    networks = [(model.name, model.backend) for model in models if model.backend is not None]
    for name, backend in networks[1:]:
        _check_alike(*networks[0], name, backend)
    return [backend for _, backend in networks]


def _check_alike(first_name: str, first: Backend, name: str, other: Backend) -> None:
    if other.task != first.task:
        does = {"detect": "finds boxes", "classify": "classifies images"}
        raise DetectorError(f"{does[other.task]}, {first_name} {does[first.task]}", file=name)
    issues = [
        f"{verb} {_some(names)}"
        for verb, names in (
            ("lacks", _unmatched(first.names, other.names)),
            ("adds", _unmatched(other.names, first.names)),
        )
        if names
    ]
    if issues:
        message = f"its classes are not those of {first_name}: it {' and '.join(issues)}"
        raise DetectorError(message, file=name)


def _unmatched(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the names that are not among the others."""
    matches = match_names(names, others)
    return [name for name, match in zip(names, matches, strict=True) if match is None]


def _some(names: Sequence[str]) -> str:
    text = ", ".join(map(shown, names[:SHOWN_NAMES]))
    left = len(names) - SHOWN_NAMES
    return f"{text} and {left} more" if left > 0 else text
