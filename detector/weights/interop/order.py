"""Names of tensors: their order, by which networks are matched, and their renaming."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import Tensor

from detector.utils.errors import DetectorError

_NUMBER = re.compile(r"(\d+)")


def natural(name: str) -> list[str | int]:
    """Return a sort key that puts ``extras.10`` after ``extras.9``."""
    return [int(part) if part.isdecimal() else part for part in _NUMBER.split(name)]


Replacement = str | Callable[[re.Match[str]], str]
"""What a pattern is replaced with, as :func:`re.sub` takes it."""


def renamed(name: str, parts: Iterable[tuple[str, Replacement]]) -> str:
    r"""Replace patterns inside a name, one after the other.

    >>> renamed("3.conv1.bias", ((r"conv(\d)", r"cv\1"), ("bias", "b")))
    '3.cv1.b'
    """
    for theirs, ours in parts:
        name = re.sub(theirs, ours, name)
    return name


def rename_all(
    state: Mapping[str, Tensor], our_name: Callable[[str], str], file: Path | None = None
) -> dict[str, Tensor]:
    """Return all tensors under our names.

    Args:
        state: tensors by name.
        our_name: function from their names to ours.
        file: the file that they are from, for errors.

    Raises:
        DetectorError: two of them have the same place.
    """
    found: dict[str, str] = {}
    for name in state:
        ours = our_name(name)
        if ours in found:
            raise DetectorError(
                f"{found[ours]!r} and {name!r} have the same place, {ours!r}; expected one of them",
                file=file,
            )
        found[ours] = name
    return {ours: state[name] for ours, name in found.items()}


def count_outputs(state: Mapping[str, Tensor], name: str) -> int:
    """Return the number of output channels of a layer, by its weight or bias.

    Raises:
        DetectorError: the tensor is one number.
    """
    if not state[name].ndim:
        raise DetectorError(f"{name!r} is one number, expected one for each output channel")
    return len(state[name])


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
