"""The result of a classifier for one image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.structures.images import ImageLike, to_rgb
from detector.utils.drawing import draw_caption
from detector.utils.opencv import Image

TOP = 5
"""Number of classes in a result, the most probable ones."""


@dataclass(frozen=True)
class Classification:
    """The most probable classes of one image, best first.

    Attributes:
        scores: (k,) float32 probabilities, descending; k is 5, or all classes if they are fewer.
        class_ids: (k,) int64, indices into ``names``, without duplicates.
        names: all class names of the model.
    """

    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], names: tuple[str, ...]) -> Classification:
        """Return the best of (classes,) probabilities; ties go to the lower class number.

        >>> Classification.of(np.float32([0.2, 0.7, 0.1]), ("cat", "dog", "cow")).class_names
        ['dog']
        """
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        return cls(probabilities[best], best, names)

    @property
    def class_names(self) -> list[str]:
        """The name of the most probable class, as a list of one."""
        return [self.names[self.class_ids[0]]]

    def draw(self, image: ImageLike) -> Image:
        """Write the most probable class and its probability into the corner of a copy.

        Args:
            image: in any form that :func:`detector.structures.images.to_rgb` takes.

        Returns:
            (h, w, 3) uint8 RGB, a new image.
        """
        text = f"{self.class_names[0]} {self.scores[0]:.2f}"
        return draw_caption(to_rgb(image), text, int(self.class_ids[0]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, with class names beside the class numbers."""
        return {
            "class_names": [self.names[i] for i in self.class_ids],
            "probabilities": [round(float(score), 6) for score in self.scores],
            "class_ids": self.class_ids.tolist(),
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)
