"""Settings of training that a head brings along: augmentation, assignment, loss."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from detector.settings.values import CountFromZero, Fraction, NonNegative
from detector.utils.yaml_file import Strict

MODULES_GROUP = "detector.modules"
"""Entry-point group of packages that bring modules of their own."""

BinaryLossName = Literal["bce", "focal", "qfl"]
"""Names of binary losses: cross-entropy, focal loss, quality focal loss."""


class BasicAugmentSettings(Strict):
    """Random changes of the training images."""

    fliplr: Fraction = Field(0.5, description="probability of a left-right flip")
    albumentations: tuple[dict[str, Any], ...] = Field(
        (), description="further transforms: [{name: Blur, p: 0.1}, …]"
    )


class ColorSettings(Strict):
    """Random changes of colors."""

    hsv_h: Fraction = Field(0.015, description="hue, ± fraction")
    hsv_s: Fraction = Field(0.7, description="saturation, ± fraction")
    hsv_v: Fraction = Field(0.4, description="brightness, ± fraction")


class ClassAugmentSettings(BasicAugmentSettings, ColorSettings):
    """Random changes of a classifier's training images."""

    scale: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="sides of the random crop, at most this fraction smaller than the image"
    )
    flipud: Fraction = Field(0.0, description="probability of an upside-down flip")


class AugmentSettings(BasicAugmentSettings, ColorSettings):
    """Random changes of a detector's training images."""

    mosaic: Fraction = Field(1.0, description="probability of a mosaic of four images")
    mixup: Fraction = Field(0.0, description="probability of a blend with another example")
    copy_paste: Fraction = Field(0.0, description="probability of objects pasted from another")
    multi_scale: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="batches are resized by up to ± this fraction, in steps of the stride"
    )
    close_mixing: CountFromZero = Field(
        0,
        description="last epochs without mosaic, mixup, copy-paste and multi-scale: single images "
        "of the network's own size",
    )
    degrees: NonNegative = Field(0.0, description="rotation, ± degrees")
    translate: Fraction = Field(0.1, description="shift, ± fraction of the side")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="zoom, ± fraction")
    shear: NonNegative = Field(0.0, description="shear, ± degrees")
    flipud: Fraction = Field(0.0, description="probability of an upside-down flip")


class LossSettings(Strict):
    """Loss of every built-in head."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="ε: part of each class target that is shared by all classes"
    )


class AnchorMatchSettings(Strict):
    """Matching of boxes with anchors."""

    anchor_ratio: Annotated[float, Field(gt=1)] = Field(
        4.0, description="largest ratio of side lengths between a box and its anchor"
    )


class YoloLossSettings(LossSettings, AnchorMatchSettings):
    """YOLO's loss: assignment, functions, and gains before levels, classes and size scale them."""

    assigner: Literal["ratio", "simota", "aligned"] = Field(
        "ratio",
        description="how targets are matched with predictions: by anchor shape (ratio), cost "
        "(simota) or alignment (aligned)",
    )
    box_loss: Literal["ciou", "siou", "diou", "giou"] = Field(
        "ciou", description="overlap measure; the box loss is 1 − overlap"
    )
    objectness_loss: BinaryLossName = Field("bce", description="objectness against the overlap")
    class_loss: BinaryLossName = Field(
        "bce", description="classes; qfl: the target's class against the overlap, not against 1"
    )
    box_gain: NonNegative = Field(0.05, description="weight of the box loss")
    objectness_gain: NonNegative = Field(1.0, description="weight of the objectness loss")
    class_gain: NonNegative = Field(0.5, description="weight of the class loss")


class YoloxLossSettings(LossSettings):
    """YOLOX's loss: assignment and gains."""

    assigner: Literal["simota", "aligned"] = Field(
        "simota",
        description="how targets are matched with predictions: by cost (simota) or alignment",
    )
    box_gain: NonNegative = Field(5.0, description="weight of the box loss, 1 − IoU²")
    objectness_gain: NonNegative = Field(1.0, description="weight of the objectness loss")
    class_gain: NonNegative = Field(1.0, description="weight of the class loss")
    l1_gain: NonNegative = Field(
        0.0, description="weight of the raw box values' L1 loss; YOLOX's last 15 epochs have 1"
    )


class DistributionLossSettings(LossSettings):
    """Loss of heads that predict distances: assignment and gains."""

    assigner: Literal["aligned", "simota"] = Field(
        "aligned",
        description="how targets are matched with predictions: by alignment (aligned) or cost",
    )
    box_gain: NonNegative = Field(7.5, description="weight of the box loss, 1 − CIoU")
    class_loss: Literal["bce", "varifocal"] = Field(
        "bce",
        description="classes against the pairs' qualities; varifocal: true pairs by their quality, "
        "others by their score, as PP-YOLOE and YOLOv6",
    )
    dfl_gain: NonNegative = Field(1.5, description="weight of the distribution focal loss")
    class_gain: NonNegative = Field(0.5, description="weight of the class loss")


class DetectTraining(AugmentSettings, YoloLossSettings):
    """Settings of YOLO's anchor-based heads, ``Detect`` and ``IDetect``."""


class YoloxTraining(AugmentSettings, YoloxLossSettings):
    """Settings of ``YOLOXHead``."""


class DistributionTraining(AugmentSettings, DistributionLossSettings):
    """Settings of ``DFLHead`` and the other heads of distances."""


class SsdTraining(BasicAugmentSettings, LossSettings):
    """Settings of ``SSDHead`` and ``RefineDetHead``; the rest of the augmentation is SSD's."""


class ClassifyTraining(ClassAugmentSettings, LossSettings):
    """Settings of ``Classify``."""


HEAD_SETTINGS: dict[str, type[Strict]] = {
    "Detect": DetectTraining,
    "IAuxDetect": DetectTraining,
    "YOLOXHead": YoloxTraining,
    "DFLHead": DistributionTraining,
    "YOLOv6Head": DistributionTraining,
    "PPYOLOEHead": DistributionTraining,
    "DualGroupedDFLHead": DistributionTraining,
    "SSDHead": SsdTraining,
    "RefineDetHead": SsdTraining,
    "Classify": ClassifyTraining,
}
"""What each built-in head lets people choose, by its name: known before torch is imported."""
