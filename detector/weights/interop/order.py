"""Convolutions in the order they are built in: how networks of one architecture correspond."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from detector.utils.errors import DetectorError

_NUMBER = re.compile(r"(\d+)")


def natural(name: str) -> list[str | int]:
    """A sort key that puts ``extras.10`` after ``extras.9``."""
    return [int(part) if part.isdecimal() else part for part in _NUMBER.split(name)]


def convolutions(names: Iterable[str]) -> list[str]:
    """Paths of the plain convolutions among our names, ``rows.0.0.conv``, in their order."""
    pattern = re.compile(r"(rows\.[\d.]*conv)\.weight")
    return sorted((m[1] for m in map(pattern.fullmatch, names) if m), key=natural)


def layers(state: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Paths below a prefix that have a weight of four axes, in natural order."""
    paths = (
        name.removesuffix(".weight")
        for name, tensor in state.items()
        if name.startswith(prefix) and name.endswith(".weight") and tensor.ndim == 4
    )
    return sorted(paths, key=natural)


def pair(
    state: Mapping[str, Tensor], found: list[str], ours: list[str], what: str
) -> dict[str, Tensor]:
    """Give the weights and biases of layers the names of ours, one after the other.

    Raises:
        DetectorError: their numbers differ.
    """
    if len(found) != len(ours):
        raise DetectorError(f"{what}: expected {len(ours)} convolutions, found {len(found)}")
    return {
        f"{our}.{part}": state[f"{theirs}.{part}"]
        for theirs, our in zip(found, ours, strict=True)
        for part in ("weight", "bias")
        if f"{theirs}.{part}" in state
    }
