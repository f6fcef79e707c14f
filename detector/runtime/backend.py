"""What runs a network, and what an exported file says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import pydantic
from numpy.typing import NDArray

from detector.config import Strict, explain
from detector.errors import DetectorError
from detector.preprocess import Preprocess
from detector.settings import MEASURING, NmsSettings, TaskName

METADATA_KEY = "detector"
"""Under this key an exported file carries its card, as JSON."""

Arrays = tuple[NDArray[np.float32], ...]

OUTPUTS: dict[TaskName, dict[str, tuple[str, ...]]] = {
    "detect": {"boxes_xyxy": ("batch", "boxes", ""), "scores": ("batch", "boxes", "")},
    "classify": {"probabilities": ("batch", "")},
}
"""By task the outputs' names with those of their dimensions; the last output's last one is the
classes."""


class Backend(Protocol):
    """A network that is ready to run, whatever runs it."""

    @property
    def task(self) -> TaskName:
        """What it gives for an image."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes the network's input."""
        ...

    @property
    def measuring(self) -> NmsSettings:
        """Thresholds to measure AP with."""
        ...

    @property
    def batch_size(self) -> int | None:
        """Images per call where the file fixes it, else None."""
        ...

    @property
    def dynamic_size(self) -> bool:
        """Whether the network takes other input sizes than ``preprocess.size_hw``."""
        ...

    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """Run the network on (b, 3, h, w) float32 input.

        Returns:
            boxes_xyxy (b, n, 4) float32, pixels of the input, and scores (b, n, classes) float32;
            of a classifier probabilities (b, classes) float32 alone.
        """
        ...


class ModelCard(Strict):
    """What an exported file says about itself: enough to use it without its model file."""

    names: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    preprocess: Preprocess
    version: str
    measuring: NmsSettings = MEASURING
    stride: Annotated[int, pydantic.Field(ge=1)] = 1
    task: TaskName = "detect"

    def to_json(self) -> str:
        """The text that stands under ``METADATA_KEY``."""
        return self.model_dump_json()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: str | Path) -> ModelCard:
        """Find and check the card in a file's metadata.

        Raises:
            DetectorError: there is none, or it is not one of ours; says what it lacks.
        """
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise DetectorError(
                f"no {METADATA_KEY!r} metadata (class names, preprocessing): "
                "not a file that tools/export.py wrote",
                file=file,
            )
        try:
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            problem = explain(cls, error.errors()[0])
            raise DetectorError(f"{METADATA_KEY!r} metadata: {problem}", file=file) from error
