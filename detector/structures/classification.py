"""What a classifier says of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 5
"""Classes that are kept of an image, the most probable ones."""


@dataclass(frozen=True)
class Classification:
    """The most probable classes of one image, best first.

    Attributes:
        scores: (k,) float32 probabilities, descending; k is 5, or all classes if they are fewer.
        class_ids: (k,) int64, indices into ``names``; no two alike.
        names: all class names of the model.
    """

    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], names: tuple[str, ...]) -> Classification:
        """The best of (classes,) probabilities; of equal ones the first.

        >>> Classification.of(np.float32([0.2, 0.7, 0.1]), ("cat", "dog", "cow")).found
        ['dog']
        """
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        return cls(probabilities[best], best, names)

    @property
    def found(self) -> list[str]:
        """The name of the most probable class."""
        return [self.names[self.class_ids[0]]]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, with the class names spelt out."""
        return {
            "class_names": [self.names[i] for i in self.class_ids],
            "probabilities": [round(float(score), 6) for score in self.scores],
            "class_ids": self.class_ids.tolist(),
        }
