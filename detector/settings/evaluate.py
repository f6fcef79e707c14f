"""Settings of the measuring tools: ``val``, ``compare``, ``analyse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from detector.settings.common import (
    DataSettings,
    EvaluatorSettings,
    RuntimeSettings,
    ToolSettings,
    ViewSettings,
)
from detector.settings.nms import EVAL_NMS, BasicNmsSettings, NmsMethod, NmsSettings
from detector.settings.values import Count, Fraction, Positive, Seed

MIN_RESAMPLES, MAX_RESAMPLES = 100, 10_000
"""Least and largest number of bootstrap resamples: fewer tell nothing about percentiles, more take
memory (4 bytes a resample and image) and tell no more."""


EVALUATION_NMS = (*BasicNmsSettings.model_fields, "clip_boxes")
"""NMS settings that an evaluation may replace."""


class EvaluationSettings(DataSettings, RuntimeSettings, ViewSettings):
    """Evaluation."""

    split: str = Field("val", description="split to measure on")
    metric: Literal["coco", "voc07", "voc10", "accuracy"] | None = Field(
        None,
        description="COCO's AP, VOC's at IoU 0.5 by 11 points (07) or area (10), or accuracy; "
        "default: coco for boxes, accuracy for classes",
    )
    batch: Count = Field(16, description="images per forward pass")
    confidence: Fraction | None = Field(
        None, description="lowest score that is kept; default: the model's, 0.001 for YOLO's"
    )
    iou: Fraction | None = Field(
        None,
        description="IoU above which NMS removes the box with the lower score; default: the "
        "model's, 0.6 for YOLO's",
    )
    max_detections: Count | None = Field(
        None, description="boxes per image; default: the model's, 300 for YOLO's"
    )
    class_agnostic: bool | None = Field(
        None, description="apply NMS across classes; default: the model's, no"
    )
    nms_method: NmsMethod | None = Field(
        None, description="of boxes that overlap, see detect; default: the model's, nms"
    )
    sigma: Positive | None = Field(
        None,
        description="σ of soft-gaussian; larger: lowers scores less; default: the model's, 0.5",
    )
    multi_label: bool | None = Field(
        None, description="a box may carry several classes; default: the model's, yes for YOLO's"
    )
    clip_boxes: bool | None = Field(
        None, description="clip boxes to the image; default: the model's, no for YOLOX's"
    )

    def nms(self, eval_nms: NmsSettings = EVAL_NMS) -> NmsSettings:
        """Return the model's NMS settings for measuring, with the flags' values in their place."""
        flags = {name: getattr(self, name) for name in EVALUATION_NMS}
        given = {name: value for name, value in flags.items() if value is not None}
        return eval_nms.model_copy(update=given)


def _check_resamples(value: int) -> int:
    if value != 0 and not MIN_RESAMPLES <= value <= MAX_RESAMPLES:
        raise ValueError(f"expected 0, or from {MIN_RESAMPLES} to {MAX_RESAMPLES}")
    return value


class ValidationSettings(EvaluationSettings, EvaluatorSettings):
    """Intervals."""

    bootstrap: Annotated[int, pydantic.AfterValidator(_check_resamples)] = Field(
        0, description="resamples of the images for 95 % intervals, such as 1000; 0: no intervals"
    )
    bootstrap_seed: Seed = Field(0, description="seed of the resamples")


class ValSettings(ValidationSettings, ToolSettings):
    """Measure AP, or a classifier's accuracy."""

    weights: Path = Field(description=".safetensors, .onnx, .xml, .pt2, or another project's .pt")
    certificate: bool = Field(
        False,
        description="check an exported file against the certificate beside it; with --data also "
        "the metrics",
    )
    save_predictions: Path | None = Field(
        None, description="write all boxes here as COCO JSON, or the best classes of each image"
    )
    dump_inputs: Path | None = Field(
        None, description="write the network's inputs into this folder instead of running it"
    )
    predictions: Path | None = Field(
        None,
        description="score outputs computed elsewhere from --dump-inputs: a folder of .npz, one "
        ".npz, or COCO JSON",
    )


class ComparisonSettings(EvaluationSettings, EvaluatorSettings):
    """Comparison of models."""

    bootstrap: Annotated[int, Field(ge=MIN_RESAMPLES, le=MAX_RESAMPLES)] = Field(
        1000, description="resamples of the images for 95 % intervals"
    )
    bootstrap_seed: Seed = Field(0, description="seed of the resamples")


class CompareSettings(ComparisonSettings, ToolSettings):
    """Compare models on the same images, with intervals of their differences."""

    models: tuple[Path, ...] = Field(
        description="two or more of: .safetensors, .onnx, .xml, .pt2, another project's .pt, or "
        "predictions (.json of val --save-predictions)",
        json_schema_extra={"positional": "MODELS"},
    )


class AnalysisSettings(EvaluationSettings):
    """Analysis."""

    shown: Fraction = Field(
        0.25,
        description="lowest score of a box that a person is shown: for confusions, the worst "
        "images and the labels in doubt",
    )


class AnalyseSettings(AnalysisSettings, ToolSettings):
    """Sort a detector's mistakes, and find labels that are probably wrong."""

    weights: Path = Field(description=".safetensors, .onnx, .xml, .pt2, or another project's .pt")
    output: Path = Field(Path("runs/analyse"), description="folder of the page and its files")
    pictures: Count = Field(12, description="pictures of each kind on the page")
    predictions: Path | None = Field(
        None, description="boxes of val --save-predictions, in place of running the network"
    )
