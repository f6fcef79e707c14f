"""The interface of all backends, and the metadata stored in exported files."""

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
from detector.runtime.decoding.known import KnownDecoding
from detector.runtime.nms.nms import Candidates
from detector.settings.nms import EVAL_NMS, NmsSettings
from detector.settings.values import FloatPrecision, PrecisionName, TaskName
from detector.structures.preprocess import MAX_SIDE, Preprocess
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import Strict, explain

METADATA_KEY = "detector"
"""Key of an exported file's properties whose value is its :class:`ModelMetadata`, as JSON."""

Arrays = tuple[NDArray[Any], ...]

KeptBoxes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""One image's boxes after NMS: boxes_xyxy (k, 4), scores (k,) descending, class_ids (k,)."""

CLASSES = "classes"

OutputSizes = dict[str, tuple[str | int, ...]]
"""Names of outputs, and of their dimensions, or the dimensions' sizes."""

OUTPUTS: dict[TaskName, OutputSizes] = {
    "detect": {"boxes_xyxy": ("batch", "boxes", ""), "scores": ("batch", "boxes", CLASSES)},
    "classify": {"probabilities": ("batch", CLASSES)},
}
"""Names of the outputs, and of their dimensions, for each task."""

OUTPUTS_AFTER_NMS: OutputSizes = {
    "boxes_xyxy": ("batch", "detections", ""),
    "scores": ("batch", "detections"),
    "class_ids": ("batch", "detections"),
}
"""Names of the outputs, and of their dimensions, of a file with NMS inside.

Rows without a box have score 0 and class −1.
"""


class Backend(Protocol):
    """A network that is ready to run, with its decoding and NMS."""

    @property
    def task(self) -> TaskName:
        """Task of the network, which decides what its outputs are."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, in the order of the class ids."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing of images into the network's input."""
        ...

    @property
    def eval_nms(self) -> NmsSettings:
        """NMS settings to measure AP with."""
        ...

    @property
    def batch_size(self) -> int | None:
        """Number of images per call if the file fixes it, else None."""
        ...

    @property
    def stride(self) -> int:
        """Largest stride of the network, pixels."""
        ...

    @property
    def dynamic_size(self) -> bool:
        """True if the network accepts other input sizes than ``preprocess.size_hw``."""
        ...

    def __call__(self, images: NDArray[np.float32]) -> Arrays:
        """Run the network on (b, 3, h, w) float32 input.

        Returns:
            Of a detector its raw outputs, a map (b, channels, h, w) float32 for each level, if
            there is a way of decoding them here, else boxes_xyxy (b, n, 4) float32, pixels of the
            input, and scores (b, n, classes) float32; with NMS inside the file boxes_xyxy
            (b, k, 4), scores (b, k) and class_ids (b, k) int64; of a classifier probabilities
            (b, classes) float32.
        """
        ...

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        """Decode a detector's outputs for one image, and apply NMS.

        Args:
            outputs: outputs of :meth:`__call__`, without the batch dimension.
            settings: thresholds and limits.

        Returns:
            boxes_xyxy (k, 4), scores (k,) descending, class_ids (k,), pixels of the input.
        """
        ...

    def candidates(self, outputs: Arrays, settings: NmsSettings) -> Candidates:
        """Decode a detector's outputs for one image, without NMS.

        Args:
            outputs: outputs of :meth:`__call__`, without the batch dimension.
            settings: thresholds and limits.

        Returns:
            The boxes that NMS would select from, best first, pixels of the input.
        """
        ...


class ModelMetadata(Strict):
    """Metadata stored in an exported file: enough to use it without its model file.

    Attributes:
        names: class names, in the order of the class ids.
        preprocess: preprocessing of images into the network's input.
        version: version of this package that wrote the file.
        eval_nms: NMS settings to measure AP with.
        stride: largest stride of the network, pixels.
        task: task of the network, which decides what its outputs are.
        nms: settings of the NMS inside the file, None if there is none.
        decoding: how the file's outputs encode boxes and scores; None if the file decodes them.
        precision: precision of the file's weights, equal to its certificate's.
        arithmetic: precision of the arithmetic that the file is certified for; of a file in int8
            of the operators that are not.
        certificate: the differences measured when the file was written.
    """

    earlier_names: ClassVar[Mapping[str, str]] = {"measuring": "eval_nms"}

    names: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    preprocess: Preprocess
    version: str
    eval_nms: NmsSettings = EVAL_NMS
    stride: Annotated[int, pydantic.Field(ge=1, le=MAX_SIDE)] = 1
    task: TaskName = "detect"
    nms: NmsSettings | None = None
    decoding: KnownDecoding | None = None
    precision: PrecisionName = "fp32"
    arithmetic: FloatPrecision = "fp32"
    certificate: Certificate | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _precision_of_certificate(cls, fields: Any) -> Any:
        """Copy ``precision`` from the certificate: earlier versions stored it only there."""
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

    @pydantic.model_validator(mode="after")
    def _decoded_once(self) -> ModelMetadata:
        if self.decoding is not None and (self.nms is not None or self.task != "detect"):
            raise ValueError("decoding: a classifier, or a file with NMS inside, has no raw boxes")
        return self

    @property
    def outputs(self) -> OutputSizes:
        """Names of the file's outputs, and of their dimensions, or the dimensions' sizes."""
        if self.decoding is not None:
            return self.decoding.outputs(len(self.names))
        return OUTPUTS[self.task] if self.nms is None else OUTPUTS_AFTER_NMS

    @property
    def measured_nms(self) -> NmsSettings:
        """NMS settings to measure AP with: those inside the file, if it has NMS."""
        if self.nms is None:
            return self.eval_nms
        return self.nms.model_copy(update={"clip_boxes": self.eval_nms.clip_boxes})

    def to_json(self) -> str:
        """Return the JSON text to store under ``METADATA_KEY``."""
        return self.model_dump_json()

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], file: str | Path) -> ModelMetadata:
        """Parse and validate the metadata among a file's properties.

        Args:
            properties: texts stored in the file, by key.
            file: the file, for error messages.

        Raises:
            DetectorError: there is no metadata, or it is invalid; the message says why.
        """
        text = properties.get(METADATA_KEY)
        if text is None:
            raise DetectorError(
                f"no {METADATA_KEY!r} metadata (class names, preprocessing): "
                "not a file that tools/export.py wrote",
                file=file,
            )
        try:
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            issue = explain(cls, error.errors()[0])
            message = f"{METADATA_KEY!r} metadata: {issue}{_other_version(text)}"
            raise DetectorError(message, file=file) from error


def _other_version(text: str) -> str:
    """Return a hint for the error message if invalid metadata come from another version, or ""."""
    found = re.search(r'"version": ?"([\w.+-]{1,40})"', text)
    if found is None or found[1] == __version__:
        return ""
    return f"; written by version {found[1]}, this is {__version__}"
