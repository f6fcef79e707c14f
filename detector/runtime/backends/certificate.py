"""What an export measured, to be read beside the file and inside it, and checked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pydantic

from detector.settings import PrecisionName
from detector.utils.yaml_file import Strict

Sha256 = Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")]


class Fusing(Strict):
    """Train form → fused: max |Δ| / max |reference| of the raw outputs, by ``deploy``."""

    fp64: float
    fp32: float
    worst_block: str
    blocks: int


class Difference(Strict):
    """Largest differences of what two forms of a network give for the same images.

    Attributes:
        boxes_px: of a box's coordinate, pixels of the input; 0 for a classifier.
        scores: of a score, or of a probability.
    """

    boxes_px: float
    scores: float


class DifferenceAfterNms(Difference):
    """Largest differences of the boxes that NMS leaves.

    Attributes:
        boxes: how many the network as it was trained has.
        unmatched: how many of either have no counterpart of the same class. NMS compares
            numbers, so the last digit may decide about a box.
    """

    boxes: int
    unmatched: int


class Measured(Strict):
    """Metrics on labelled images, by name, the main one first."""

    data: str
    split: str
    images: int
    before: dict[str, float]
    after: dict[str, float]

    @property
    def main(self) -> tuple[str, float, float]:
        """The main metric's name, and its value before and after."""
        name = next(iter(self.before))
        return name, self.before[name], self.after[name]


class Certificate(Strict):
    """That a file computes what was trained, as far as it was measured.

    Attributes:
        weights_sha256: of the tensors that were exported, as they were trained.
        fusing: train form → fused.
        exported: fused → file, before NMS.
        before_nms: train form → file, before NMS.
        after_nms: train form → file, after NMS; None for a classifier.
        images: number of images compared, random ones and real ones.
        precision: of the file's weights, which decides the tolerances.
        measured: AP or accuracy, where data were given.
        versions: of Python and of the libraries that took part.
        command: that wrote the file.
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
    versions: dict[str, str]
    command: str = ""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_half(cls, fields: Any) -> Any:
        return with_precision(fields)


def with_precision(fields: Any) -> Any:
    """Return a certificate's fields with ``precision`` in place of ``half``, an earlier version's.

    Anything but such fields is returned as it is.

    >>> with_precision({"images": 4, "half": True})
    {'images': 4, 'precision': 'fp16'}
    """
    if not isinstance(fields, dict) or "precision" in fields:
        return fields
    if not isinstance(fields.get("half"), bool):
        return fields
    others = {name: value for name, value in fields.items() if name != "half"}
    return {**others, "precision": "fp16" if fields["half"] else "fp32"}
