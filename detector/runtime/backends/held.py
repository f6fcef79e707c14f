"""The limit of the values that a network may hold at once, for graphs of any format."""

from __future__ import annotations

VALUES_PER_PIXEL = 512
"""Maximum number of values that a graph may hold at once, for each pixel of its input. VGG-16
needs the most of the networks in ``cfg/``, 128: two outputs of 64 channels."""

MIN_VALUES = 1 << 25
"""Number of values that a graph may hold at once however small its input is: 128 MiB in float32."""

MAX_NODES = 20_000
"""Maximum number of operators; the networks of this package have some hundred."""


class HeldValues:
    """Number of values that a graph holds while it is run, operator after operator.

    Args:
        pixels: number of pixels of its input, those of all images.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.limit = max(MIN_VALUES, VALUES_PER_PIXEL * pixels)
        self._held = 0

    def add(self, count: int, label: str) -> None:
        """Add the outputs of an operator.

        Raises:
            ValueError: too many are held now; the message names the operator by its label.
        """
        self._held += count
        if self._held > self.limit:
            raise ValueError(
                f"needs more memory than a network: {self._held:,} values at once from {label} on, "
                f"at most {self.limit:,} for an input of {self.pixels:,} pixels"
            )

    def free(self, count: int) -> None:
        """Subtract values after their last use."""
        self._held -= count


def check_count(nodes: int) -> None:
    """Raise ValueError where a graph has more operators than networks."""
    if nodes > MAX_NODES:
        raise ValueError(f"has more than {MAX_NODES} operators")
