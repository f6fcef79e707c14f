"""The certificate of an exported file, stored inside the file and beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pydantic

from detector.settings.values import PrecisionName
from detector.utils.yaml_file import Strict

Sha256 = Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")]


class Fusing(Strict):
    """Differences between the trained and the fused network, measured by ``deploy``.

    Attributes:
        fp64: max |Δ| / max |reference| of the raw outputs, in float64.
        fp32: the same ratio in float32.
        worst_block: name of the block that differs most.
        blocks: number of fused blocks.
    """

    fp64: float
    fp32: float
    worst_block: str
    blocks: int


class Difference(Strict):
    """Largest differences between the outputs of two forms of a network, for the same images.

    Attributes:
        boxes_px: largest difference of a box coordinate, pixels of the input; 0 for a classifier.
        scores: largest difference of a score, or of a probability.
    """

    boxes_px: float
    scores: float


class DifferenceAfterNms(Difference):
    """Largest differences between the boxes of two forms of a network, after NMS.

    Attributes:
        boxes: number of boxes of the trained network.
        unmatched: number of boxes of either form without a counterpart of the same class. NMS
            compares numbers, so that the last digit may decide whether a box is kept.
    """

    boxes: int
    unmatched: int


class Intervals(Strict):
    """Intervals that cover 95 of 100 resamples of the images, of the main metric.

    Attributes:
        before: of the trained network.
        after: of the exported file.
        change: of the difference, file minus network, on the same resamples.
    """

    before: tuple[float, float]
    after: tuple[float, float]
    change: tuple[float, float]


class CalibrationSet(Strict):
    """The annotated images that the ranges of INT8 activations were measured on.

    Attributes:
        data: name of the data set.
        split: name of the split.
        images: number of images.
        classes: number of classes that occur in them.
        fingerprint: SHA-256 digests of class names, image files and labels.
    """

    data: str
    split: str
    images: int
    classes: int
    fingerprint: dict[str, Sha256]


class Quantisation(Strict):
    """How a file in INT8 was made.

    Attributes:
        calibration: images that the ranges were measured on.
        max_drop: largest drop of the main metric that was allowed.
        per_tensor: weights have one scale a layer, in place of one for each output channel.
        rows: number of rows of the network that can be quantised.
        in_float: those that were left in float, by index and module.
    """

    calibration: CalibrationSet
    max_drop: float
    rows: int
    in_float: tuple[str, ...]
    per_tensor: bool = False

    def describe(self) -> str:
        """Return what was left in float, and what the ranges were measured on, as text."""
        kept = f": {', '.join(self.in_float)}" if self.in_float else ""
        scales = ", weights with one scale a layer" if self.per_tensor else ""
        return (
            f"INT8: {len(self.in_float)} of {self.rows} rows in float{kept}{scales}; calibrated on "
            f"{self.calibration.images} images of split {self.calibration.split!r}"
        )


class Measured(Strict):
    """Metrics on an evaluation set, before and after the export.

    Attributes:
        data: name of the data set.
        split: name of the split.
        images: number of images.
        before: metrics of the trained network by name, the main one first.
        after: metrics of the exported file, by name.
        intervals: those of the main metric; None where they were not computed.
    """

    data: str
    split: str
    images: int
    before: dict[str, float]
    after: dict[str, float]
    intervals: Intervals | None = None

    @property
    def main(self) -> tuple[str, float, float]:
        """Name of the main metric, and its value before and after the export."""
        name = next(iter(self.before))
        return name, self.before[name], self.after[name]


class Certificate(Strict):
    """Measured differences between an exported file and the trained network.

    Attributes:
        weights_sha256: SHA-256 of the trained network's tensors.
        fusing: fused against trained network.
        exported: file against fused network, before NMS.
        before_nms: file against trained network, before NMS.
        after_nms: file against trained network, after NMS; None for a classifier.
        images: number of images compared, random ones included.
        precision: precision of the file's weights, which decides the tolerances.
        measured: AP or accuracy before and after, None if no data were given.
        quantisation: how a file in INT8 was made; None for other precisions.
        versions: versions of Python and of the libraries involved.
        command: command that wrote the file.
    """

    earlier_names: ClassVar[Mapping[str, str]] = {"whole": "before_nms", "final": "after_nms"}

    weights_sha256: Sha256
    fusing: Fusing
    exported: Difference
    before_nms: Difference
    after_nms: DifferenceAfterNms | None
    images: int
    precision: PrecisionName = "fp32"
    measured: Measured | None = None
    quantisation: Quantisation | None = None
    versions: dict[str, str]
    command: str = ""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_half(cls, fields: Any) -> Any:
        return with_precision(fields)


def with_precision(fields: Any) -> Any:
    """Return a certificate's fields with ``half``, of earlier versions, replaced by ``precision``.

    Any other value is returned unchanged.

    >>> with_precision({"images": 4, "half": True})
    {'images': 4, 'precision': 'fp16'}
    """
    if not isinstance(fields, dict) or "precision" in fields:
        return fields
    if not isinstance(fields.get("half"), bool):
        return fields
    others = {name: value for name, value in fields.items() if name != "half"}
    return {**others, "precision": "fp16" if fields["half"] else "fp32"}
