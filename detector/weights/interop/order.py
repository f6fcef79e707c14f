"""Layers in the order of construction, by which networks of one architecture are matched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from detector.utils.errors import DetectorError

_NUMBER = re.compile(r"(\d+)")


def natural(name: str) -> list[str | int]:
    """Return a sort key that puts ``extras.10`` after ``extras.9``."""
    return [int(part) if part.isdecimal() else part for part in _NUMBER.split(name)]


def convolutions(names: Iterable[str]) -> list[str]:
    """Return the paths of plain convolutions among our names, ``rows.0.0.conv``, in row order."""
    pattern = re.compile(r"(rows\.[\d.]*conv)\.weight")
    return sorted((m[1] for m in map(pattern.fullmatch, names) if m), key=natural)


def layers(state: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Return the paths under a prefix that have a four-dimensional weight, in natural order."""
    paths = (
        name.removesuffix(".weight")
        for name, tensor in state.items()
        if name.startswith(prefix) and name.endswith(".weight") and tensor.ndim == 4
    )
    return sorted(paths, key=natural)


def pair(
    state: Mapping[str, Tensor], found: list[str], ours: list[str], what: str
) -> dict[str, Tensor]:
    """Rename the weights and biases of layers to the paths of ours, matched by position.

    Args:
        state: their tensors by name.
        found: paths of their layers.
        ours: paths of our layers, as many.
        what: name of the weights in errors.

    Raises:
        DetectorError: the numbers of layers differ.
    """
    if len(found) != len(ours):
        raise DetectorError(f"{what}: expected {len(ours)} convolutions, found {len(found)}")
    return {
        f"{our}.{part}": state[f"{theirs}.{part}"]
        for theirs, our in zip(found, ours, strict=True)
        for part in ("weight", "bias")
        if f"{theirs}.{part}" in state
    }
