"""What an export measured, to be read beside the file and inside it, and checked again."""

from __future__ import annotations

from typing import Annotated

import pydantic

from detector.utils.yaml_file import Strict

Sha256 = Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")]

AP_TOLERANCE = 0.001
HALF_AP_TOLERANCE = 0.005


def ap_tolerance(half: bool) -> float:
    """How far AP, or accuracy, may move; weights of 16 bits have a tolerance of their own."""
    return HALF_AP_TOLERANCE if half else AP_TOLERANCE


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


class FinalDifference(Difference):
    """The same of the boxes that suppression leaves.

    Attributes:
        boxes: how many the network as it was trained has.
        unmatched: how many of either have no counterpart of the same class. Suppression compares
            numbers, so the last digit may decide about a box.
    """

    boxes: int
    unmatched: int


class Measured(Strict):
    """Figures on labelled images, by name, the main one first."""

    data: str
    split: str
    images: int
    before: dict[str, float]
    after: dict[str, float]

    @property
    def main(self) -> tuple[str, float, float]:
        """The main figure's name, and its value before and after."""
        name = next(iter(self.before))
        return name, self.before[name], self.after[name]


class Certificate(Strict):
    """That a file computes what was trained, as far as it was measured.

    Attributes:
        weights_sha256: of the tensors that were exported, as they were trained.
        fusing: train form → fused.
        exported: fused → file, before suppression.
        whole: train form → file, before suppression.
        final: train form → file, after suppression; None for a classifier.
        images: number of images compared, random ones and real ones.
        half: whether the file has weights of 16 bits, for which other tolerances hold.
        measured: AP or accuracy, where data were given.
        versions: of Python and of the libraries that took part.
        command: that wrote the file.
    """

    weights_sha256: Sha256
    fusing: Fusing
    exported: Difference
    whole: Difference
    final: FinalDifference | None
    images: int
    half: bool = False
    measured: Measured | None = None
    versions: dict[str, str]
    command: str = ""
