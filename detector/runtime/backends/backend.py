"""What runs a network, and what an exported file says about itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
import pydantic
from numpy.typing import NDArray

from detector import __version__
from detector.runtime.backends.certificate import Certificate, with_precision
from detector.settings import EVAL_NMS, NmsSettings, PrecisionName, TaskName
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import Strict, explain

METADATA_KEY = "detector"
"""Under this key an exported file carries its card, as JSON."""

Arrays = tuple[NDArray[Any], ...]

KeptBoxes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""boxes_xyxy (k, 4), scores (k,) descending, class_ids (k,): one image's boxes after NMS."""

CLASSES = "classes"

OUTPUTS: dict[TaskName, dict[str, tuple[str, ...]]] = {
    "detect": {"boxes_xyxy": ("batch", "boxes", ""), "scores": ("batch", "boxes", CLASSES)},
    "classify": {"probabilities": ("batch", CLASSES)},
}
"""By task the outputs' names with those of their dimensions."""

OUTPUTS_AFTER_NMS = {
    "boxes_xyxy": ("batch", "detections", ""),
    "scores": ("batch", "detections"),
    "class_ids": ("batch", "detections"),
}
"""The same of a file that holds the suppression; rows without a box have score 0 and class −1."""


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
    def eval_nms(self) -> NmsSettings:
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
            of a classifier probabilities (b, classes) float32 alone; where the file holds the
            suppression, boxes_xyxy (b, k, 4), scores (b, k), class_ids (b, k) int64.
        """
        ...

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        """Apply NMS to the outputs of one image of a detector.

        Args:
            outputs: of :meth:`__call__`, without the batch dimension.
            settings: thresholds and limits.

        Returns:
            boxes_xyxy (k, 4), scores (k,) descending, class_ids (k,), pixels of the input.
        """
        ...


class ModelMetadata(Strict):
    """What an exported file says about itself: enough to use it without its model file.

    Attributes:
        names: of the classes.
        preprocess: how an image becomes the network's input.
        version: of this product, which wrote the file.
        eval_nms: thresholds to measure AP with.
        stride: the largest one, pixels.
        task: what the file gives.
        nms: the suppression that the file holds, if it does.
        precision: of the file's weights; its certificate says the same.
        certificate: what was measured when it was written.
    """

    earlier_names: ClassVar[Mapping[str, str]] = {"measuring": "eval_nms"}

    names: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    preprocess: Preprocess
    version: str
    eval_nms: NmsSettings = EVAL_NMS
    stride: Annotated[int, pydantic.Field(ge=1)] = 1
    task: TaskName = "detect"
    nms: NmsSettings | None = None
    precision: PrecisionName = "fp32"
    certificate: Certificate | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _precision_of_certificate(cls, fields: Any) -> Any:
        """Fill in ``precision``, of which cards of earlier versions leave it to the certificate."""
        if not isinstance(fields, dict) or "precision" in fields:
            return fields
        certificate = with_precision(fields.get("certificate"))
        if not isinstance(certificate, dict) or "precision" not in certificate:
            return fields
        return {**fields, "precision": certificate["precision"], "certificate": certificate}

    @pydantic.model_validator(mode="after")
    def _one_precision(self) -> ModelMetadata:
        if self.certificate is not None and self.certificate.precision != self.precision:
            raise ValueError(
                f"precision is {self.precision}, its certificate's is {self.certificate.precision}"
            )
        return self

    @property
    def outputs(self) -> dict[str, tuple[str, ...]]:
        """The file's outputs, with the names of their dimensions."""
        return OUTPUTS[self.task] if self.nms is None else OUTPUTS_AFTER_NMS

    def to_json(self) -> str:
        """The text that stands under ``METADATA_KEY``."""
        return self.model_dump_json()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: str | Path) -> ModelMetadata:
        """Find and check the card in a file's metadata.

        Args:
            metadata: texts by key.
            file: for errors.

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
            message = f"{METADATA_KEY!r} metadata: {problem}{_other_version(text)}"
            raise DetectorError(message, file=file) from error


def _other_version(card: str) -> str:
    """Where a card that is not understood comes from another version, a hint at that."""
    found = re.search(r'"version": ?"([\w.+-]{1,40})"', card)
    if found is None or found[1] == __version__:
        return ""
    return f"; written by version {found[1]}, this is {__version__}"
