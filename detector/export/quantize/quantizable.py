"""What the search and the gate know of a network in INT8, whichever library quantises it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from detector.export.options import Save
from detector.export.proof.comparison import InputBatch
from detector.runtime.backends.backend import Arrays


class Quantizable(Protocol):
    """A network with calibration images, of which rows can be left in float.

    Decoding, which belongs to no row, always is.
    """

    @property
    def rows(self) -> tuple[int, ...]:
        """Indices of the rows that have operators to quantise."""
        ...

    def other_ranges(self) -> Iterator[Quantizable]:
        """Yield the network with other ranges of its activations, in the order of trying them."""
        ...

    def save(self, in_float: Collection[int]) -> Save:
        """Return the function that writes the network in INT8, except for these rows."""
        ...

    def run(self, in_float: Collection[int], batches: Sequence[InputBatch]) -> list[Arrays]:
        """Return the network's outputs for each batch, in INT8 except for these rows."""
        ...
