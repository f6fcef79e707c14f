"""Typed settings of the tools, from which flags, presets and quick-start blocks are made."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypedDict

import pydantic
from pydantic import Field
from pydantic_core import PydanticKnownError

from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.yaml_file import Strict

TaskName = Literal["detect", "classify"]
"""Output of a network: boxes with scores, or one probability per class."""

FormatName = Literal["onnx", "openvino", "pt2"]
"""Formats of exported files."""

FloatPrecision = Literal["fp32", "fp16", "bf16"]
"""Precisions in which a device multiplies matrices."""

PrecisionName = Literal["fp32", "bf16", "fp16", "int8"]
"""Precisions of an exported file; for what each allows see
:mod:`detector.runtime.backends.precision`."""

RunPrecision = Literal["auto", FloatPrecision]
"""Precisions of the arithmetic of a run; auto: that which the file is certified for."""

MODULES_GROUP = "detector.modules"
"""Entry-point group of packages that bring modules of their own."""

BUILT_IN_DATA = "datasets/shapes.yaml"
"""Data set used where none is named: drawn images, no download."""

NmsMethod = Literal["nms", "soft-linear", "soft-gaussian", "fusion"]
Letterbox = Literal["square", "rectangle"]
Mode = Literal["latency", "throughput"]

CacheKind = Literal["ram", "disk", "none"]
"""Places where decoded images are cached."""

BinaryLossName = Literal["bce", "focal", "qfl"]
"""Names of binary losses: cross-entropy, focal loss, quality focal loss."""

LabelFormatName = Literal["yolo", "coco", "voc", "csv"]
"""Formats of labels that data sets are converted to."""

SavedFormatName = Literal["coco", "yolo", "voc", "labelstudio", "cvat"]
"""Formats of labels that detections are saved in."""

ImageTransfer = Literal["link", "symlink", "copy"]
"""Ways to put images into a converted data set."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]

MAX_COUNT = (1 << 31) - 1
"""Largest count in settings: libraries compute with 32 bits, or with 64."""

MAX_SEED = (1 << 32) - 1
"""Largest seed: NumPy's global generator takes 32 bits."""

MIN_RESAMPLES, MAX_RESAMPLES = 100, 10_000
"""Least and largest number of bootstrap resamples: fewer tell nothing about percentiles, more take
memory (4 bytes a resample and image) and tell no more."""

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountFromZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]

MIN_OPSET, MAX_OPSET = 13, 23
"""First and last ONNX operator set that files are written in."""

MAX_FIXED_BATCH = 64
"""Largest fixed number of images per call that an exported file may have."""
ImageSide = Annotated[int, Field(ge=32, le=8192)]

_SIDES: pydantic.TypeAdapter[list[int]] = pydantic.TypeAdapter(list[ImageSide])


def _read_image_size(value: Any) -> Any:
    """Return one side, or height and width where they differ, from ``640`` or ``384,640``."""
    sides = value.split(",") if isinstance(value, str) else value
    sides = list(sides) if isinstance(sides, (list, tuple)) else [sides]
    if len(sides) not in (1, 2):
        raise ValueError("expected one side, or HEIGHT,WIDTH")
    try:
        height, *width = _SIDES.validate_python(sides)
    except pydantic.ValidationError as error:
        issue = error.errors()[0]
        raise PydanticKnownError(issue["type"], issue.get("ctx")) from error  # type: ignore[arg-type]
    return height if width in ([], [height]) else (height, *width)


ImageSize = Annotated[int | tuple[int, int], pydantic.BeforeValidator(_read_image_size)]
"""Size of the network's input, pixels: the side of a square, or height and width."""


def typed_text(value: Any) -> str:
    """Return a setting's value as it is typed on the command line.

    >>> typed_text((384, 640)), typed_text(0.5)
    ('384,640', '0.5')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


class BasicNmsSettings(Strict):
    """NMS."""

    confidence: Fraction = Field(0.25, description="lowest score that is kept")
    iou: Fraction = Field(
        0.45, description="IoU above which NMS removes the box with the lower score"
    )
    max_detections: Count = Field(300, description="boxes per image, the best ones")
    class_agnostic: bool = Field(False, description="apply NMS across classes")
    nms_method: NmsMethod = Field(
        "nms",
        description="nms: drop overlapping boxes; soft-…: lower their scores; fusion: merge them",
    )
    sigma: Positive = Field(0.5, description="σ of soft-gaussian; larger values lower scores less")
    multi_label: bool = Field(False, description="a box may carry several classes")


class NmsSettings(BasicNmsSettings):
    """NMS settings: which decoded boxes are kept. There is no time limit."""

    earlier_names: ClassVar[Mapping[str, str]] = {"suppression": "nms_method"}

    classes: tuple[int, ...] | None = Field(None, description="class numbers to keep")
    candidates: Count = Field(30_000, description="boxes that enter the suppression, best first")
    class_candidates: Count | None = Field(
        None, description="boxes of each class that enter the suppression, best first"
    )
    clip_boxes: bool = Field(True, description="clip boxes to the image")


class NmsOptions(TypedDict, total=False):
    """Fields of :class:`NmsSettings` as keyword arguments; classes by name, too."""

    confidence: float
    iou: float
    max_detections: int
    class_agnostic: bool
    nms_method: NmsMethod
    sigma: float
    multi_label: bool
    classes: str | int | Iterable[str | int] | None
    candidates: int
    class_candidates: int | None
    clip_boxes: bool


EVAL_NMS = NmsSettings(confidence=0.001, iou=0.6, max_detections=300, multi_label=True)
"""NMS settings customary for COCO evaluation: a low threshold, several classes per box."""


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
    dfl_gain: NonNegative = Field(1.5, description="weight of the distribution focal loss")
    class_gain: NonNegative = Field(0.5, description="weight of the class loss")


class OptimizerSettings(Strict):
    """Optimizer and schedule."""

    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="optimizer")
    learning_rate: Positive = Field(0.02, description="learning rate after the warm-up")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="how the learning rate falls after the warm-up"
    )
    final_fraction: Fraction = Field(
        0.01, description="learning rate at the last step, as a fraction"
    )
    momentum: Fraction = Field(0.937, description="SGD's momentum, AdamW's β₁")
    weight_decay: NonNegative = Field(5e-4, description="of weights; not of biases and norms")
    warmup_epochs: NonNegative = Field(1.0, description="epochs of linear warm-up")
    nominal_batch: Count = Field(16, description="images per optimizer step, by accumulation")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9999, description="decay of the averaged weights"
    )
    ema_warmup: Positive = Field(500.0, description="steps over which that decay is reached")
    clip_norm: Positive = Field(10.0, description="largest norm of the gradient")


class ToolSettings(Strict):
    """General."""

    json_file: Path | None = Field(
        None, alias="json", description="write the metrics to this file as JSON"
    )
    debug: bool = Field(False, description="show the traceback of an error")

    model_config = pydantic.ConfigDict(validate_by_alias=True, validate_by_name=True)


class DataSettings(Strict):
    """Data."""

    data: str | None = Field(None, description="data set: datasets/*.yaml, or a folder")
    data_root: Path | None = Field(None, description="folder in place of the definition's path")
    skip_bad: bool = Field(False, description="drop unreadable images and labels, and count them")
    max_unlabeled: Fraction | None = Field(
        None,
        description="largest share of images without a label file (Pascal VOC: 0.1, YOLO: 0.9)",
    )
    limit: Count | None = Field(
        None, description="use only the first images of a split, as for an overfitting check"
    )

    def named_data(self, purpose: str) -> str:
        """Return the data set.

        Args:
            purpose: what it is for, for the error.

        Raises:
            DetectorError: none is given; the message names the ways to give one.
        """
        if self.data is None:
            raise DetectorError(
                f"--data is missing, the images to {purpose}: give --data FOLDER or --data "
                f"FILE.yaml; the built-in drawn images are --data {BUILT_IN_DATA}"
            )
        return self.data


class TileSettings(Strict):
    """Tiles, for small objects in large images."""

    tiles: ImageSide | None = Field(
        None,
        description="side of the overlapping squares that larger images are cut into, pixels",
    )
    tile_overlap: Annotated[float, Field(ge=0, lt=0.9)] = Field(
        0.2, description="least share of a tile's side that neighbours have in common"
    )
    tile_whole: bool = Field(
        True, description="use the whole image, too, for objects larger than the overlap"
    )

    @pydantic.field_validator("tile_overlap", "tile_whole", "tile_visible", check_fields=False)
    @classmethod
    def _belongs_to_tiles(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Reject a value without effect: nothing is cut without ``tiles``."""
        default = cls.model_fields[str(info.field_name)].default
        if value != default and info.data.get("tiles", 0) is None:
            raise ValueError("has no effect without tiles")
        return value

    def describe_tiles(self) -> str:
        """Return how images are cut, in words; "" if they are not."""
        if self.tiles is None:
            return ""
        whole = ", and the whole image" if self.tile_whole else ""
        return f"tiles of {self.tiles} px, overlap {self.tile_overlap:g}{whole}"


class ConvertSettings(ToolSettings, DataSettings):
    """Convert a data set to another format of labels."""

    to: LabelFormatName = Field(description="format to write")
    output: Path = Field(
        description="new or empty folder to write", json_schema_extra={"positional": "OUT"}
    )
    images: ImageTransfer = Field(
        "link",
        description="link: a second name of the same file, which takes no space and stays when the "
        "first is removed; symlink: a pointer to it; copy",
    )
    splits: tuple[str, ...] | None = Field(None, description="splits to convert; default: all")


class TrainSettings(ToolSettings, DataSettings, OptimizerSettings, TileSettings):
    """Train a detector."""

    # A head has further settings of its own, which its task declares;
    # detector.engine.head_settings.settings_class puts both together.

    of_head: ClassVar[str] = ""
    """Name of the head whose settings are among these."""

    cfg: str | None = Field(None, description="model file, cfg/*.yaml")
    variant: str | None = Field(None, description="row of the model file's table of variants")
    weights: Path | None = Field(
        None, description="start weights: .safetensors, or another project's .pt"
    )
    backbone_weights: Path | None = Field(
        None, description="start weights of the backbone: a classifier's .pth, or .safetensors"
    )
    download: bool = Field(
        False,
        description="fetch the weights of a timm backbone from the Hugging Face hub; says which, "
        "from where, how large, under which licence",
    )
    qat: bool = Field(
        False,
        description="fuse the network of --weights and go on training it with weights and "
        "activations rounded to 8 bits, before export --precision int8",
    )
    preset: str | None = Field(None, description="settings file, cfg/train/*.yaml")
    imgsz: ImageSize | None = Field(
        None, description="side of the square network input, or HEIGHT,WIDTH, pixels"
    )
    epochs: Count = Field(100, description="passes over the training images")
    batch: Count = Field(16, description="images per forward pass, of all processes together")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp64", FloatPrecision] = Field(
        "auto", description="auto: mixed where the device gains from it; fp64: to compare runs"
    )
    sync_bn: bool = Field(False, description="batch norm over the images of all processes' GPUs")
    skip_nonfinite: bool = Field(
        False, description="skip steps with a loss or gradient that is not finite, and count them"
    )
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None,
        description="processes that load images; default: for a CPU a quarter as many as "
        "cores, for a GPU one less than cores, at most 8",
    )
    cache: CacheKind = Field("ram", description="where decoded images are kept, as many as fit")
    cache_dir: Path = Field(Path("runs/cache"), description="folder of those on disk")
    seed: Seed = Field(0, description="seed of all random numbers")
    augment: bool = Field(True, description="augment the training images")
    freeze: CountFromZero = Field(
        0, description="first rows of the model file that stay as they are, batch norms included"
    )
    balance_classes: Fraction = Field(
        0.0,
        description="images of a class that fewer than this fraction of the images show are "
        "repeated (repeat-factor sampling)",
    )
    tile_visible: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="least visible share of a box that a tile keeps"
    )
    train_split: str = Field("train", description="split to train on")
    val_split: str = Field("val", description="split that chooses the best epoch")
    val_interval: Count = Field(
        1, description="epochs between validations; the last always has one"
    )
    monitor: str | None = Field(
        None, description="metric that chooses the best epoch; default: AP, or a classifier's top1"
    )
    patience: Count | None = Field(
        None, description="stop after so many epochs without a better metric"
    )
    save_minutes: NonNegative = Field(
        10.0, description="minutes between checkpoints within an epoch; 0: after each step"
    )
    pictures: bool = Field(
        True, description="draw training examples, validation images, and curves of the best epoch"
    )
    tensorboard: bool = Field(False, description="write losses and metrics for TensorBoard")
    project: Path = Field(Path("runs/train"), description="folder of runs")
    name: str | None = Field(None, description="the run's folder; default: the next free number")
    resume: str | None = Field(
        None,
        description="resume the run in this folder; without a value: the newest one",
        json_schema_extra={"alone": "last"},
    )


class DetectTraining(AugmentSettings, YoloLossSettings):
    """Settings of YOLO's anchor-based heads, ``Detect`` and ``IDetect``."""


class YoloxTraining(AugmentSettings, YoloxLossSettings):
    """Settings of ``YOLOXHead``."""


class DistributionTraining(AugmentSettings, DistributionLossSettings):
    """Settings of ``DFLHead`` and the other heads of distances."""


class SsdTraining(BasicAugmentSettings, LossSettings):
    """Settings of ``SSDHead``; the rest of its augmentation is the paper's."""


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
    "Classify": ClassifyTraining,
}
"""What each built-in head lets people choose, by its name: known before torch is imported."""


def settings_of_heads(heads: Mapping[str, type[Strict]]) -> type[TrainSettings]:
    """Return a settings class with those of every training and of some heads.

    Args:
        heads: settings by the names of the heads; of a setting that several have, the first counts.
    """
    return _settings_of_heads(tuple(heads.items()))


@cache
def _settings_of_heads(heads: tuple[tuple[str, type[Strict]], ...]) -> type[TrainSettings]:
    owners: dict[str, list[tuple[str, type[Strict]]]] = {}
    for head, settings in heads:
        for name in settings.model_fields:
            owners.setdefault(name, []).append((head, settings))
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, having in owners.items():
        field = having[0][1].model_fields[name]
        group = groups.setdefault(tuple(head for head, _ in having), {})
        group[name] = (field.annotation, field)
    bases: list[Any] = [
        pydantic.create_model(
            f"Of{''.join(names)}", __base__=Strict, __doc__=f"For {comma_list(names)}", **fields
        )
        for names, fields in groups.items()
    ]
    return pydantic.create_model(
        "AnyTraining", __base__=(TrainSettings, *bases), __doc__=TrainSettings.__doc__
    )


def comma_list(words: Sequence[str]) -> str:
    """Return words as a sentence lists them.

    >>> comma_list(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"


class RuntimeSettings(Strict):
    """Inference."""

    imgsz: ImageSize | None = Field(
        None, description="side of the square input, or HEIGHT,WIDTH, pixels; default: stored"
    )
    letterbox: Letterbox = Field(
        "square",
        description="square: pad images to the whole input, HEIGHT,WIDTH too; rectangle: only "
        "to the stride's next multiples",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="compute threads; default: OMP_NUM_THREADS, else one a core"
    )
    precision: RunPrecision = Field(
        "auto", description="of the arithmetic; auto: what the file is certified for, else fp32"
    )
    mode: Mode = Field(
        "latency",
        description="latency: all threads on one batch; throughput: each on a batch of its own",
    )


class PredictorSettings(TileSettings, RuntimeSettings):
    """Inference, batch size and tiles."""

    batch: Count = Field(1, description="images per forward pass")


EVALUATION_NMS = (*BasicNmsSettings.model_fields, "clip_boxes")
"""NMS settings that an evaluation may replace."""


class EvaluationSettings(DataSettings, RuntimeSettings, TileSettings):
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


class ValidationSettings(EvaluationSettings):
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


class ComparisonSettings(EvaluationSettings):
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


class DetectSettings(ToolSettings, RuntimeSettings, TileSettings, BasicNmsSettings):
    """Detect objects in images and videos, or classify them."""

    weights: Path = Field(description=".safetensors, .onnx, .xml, .pt2, or another project's .pt")
    source: str = Field(description="image, folder, glob, list file (.txt), video or stream")
    batch: Count = Field(1, description="images per forward pass")
    clip_boxes: bool = Field(True, description="clip boxes to the image")
    classes: tuple[str, ...] | None = Field(
        None, description="class names or numbers to keep, as cat,dog"
    )
    skip_bad: bool = Field(False, description="skip unreadable images, and count them")
    shard: str | None = Field(
        None, description="part of the files, as 2/4; default: that of torchrun, or all of them"
    )
    output: Path = Field(Path("runs/detect"), description="folder of the results")
    draw: bool = Field(True, description="write images, or the video, with boxes drawn")
    txt: bool = Field(False, description="write YOLO txt files, which can be used as labels")
    txt_scores: bool = Field(
        False, description="write YOLO txt files whose lines end with the score"
    )
    jsonl: bool = Field(False, description="write one JSON line an image")
    save_labels: SavedFormatName | None = Field(
        None, description="write the boxes as labels to correct, into a folder of that name"
    )
    label_confidence: Fraction | None = Field(
        None, description="lowest score of a label; default: --confidence"
    )
    class_confidence: tuple[str, ...] | None = Field(
        None, description="the same for some classes, as cat=0.3,dog=0.5"
    )

    def label_confidences(self, names: tuple[str, ...]) -> tuple[float, ...]:
        """Return the lowest score of the labels of each class.

        Raises:
            DetectorError: a class is unknown or named twice, or its value is no score.
        """
        common = self.confidence if self.label_confidence is None else self.label_confidence
        own: dict[int, float] = {}
        for text in self.class_confidence or ():
            name, _, value = text.rpartition("=")
            score = _score(text, value)
            (number,) = class_numbers(name, names)
            if number in own:
                raise DetectorError(f"--class-confidence: {names[number]!r} is named twice")
            own[number] = score
        return tuple(own.get(number, common) for number in range(len(names)))

    def nms(self, names: tuple[str, ...]) -> NmsSettings:
        """Return the NMS settings of these flags; ``classes`` are looked up in ``names``.

        Raises:
            DetectorError: a class is unknown; names the nearest one.
        """
        classes = None
        if self.classes is not None:
            classes = class_numbers(self.classes, names)
        flags = {name: getattr(self, name) for name in BasicNmsSettings.model_fields}
        return NmsSettings(classes=classes, clip_boxes=self.clip_boxes, **flags)


def _score(text: str, value: str) -> float:
    """Return the score in ``cat=0.3``."""
    try:
        score = float(value)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        message = f"--class-confidence: expected CLASS=SCORE with a score of 0 to 1, found {text!r}"
        raise DetectorError(message)
    return score


class ServeSettings(ToolSettings, RuntimeSettings, BasicNmsSettings):
    """Answer requests over HTTP, with a page to try it on."""

    weights: Annotated[tuple[Path, ...], Field(min_length=1)] = Field(
        description="exported files; each is a model by its file's stem, the first answers where "
        "none is named",
        json_schema_extra={"positional": "FILES"},
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: all")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0: any free one")
    token_file: Path | None = Field(
        None,
        description="file with a token that requests must bring; default: the variable "
        "DETECTOR_TOKEN, else no token",
    )
    max_batch: Count = Field(8, description="images per forward pass, unless the file fixes it")
    max_wait_ms: Annotated[float, Field(ge=0, le=10_000)] = Field(
        2.0, description="time that an image waits for others of its batch"
    )
    queue: Count = Field(
        64, description="images accepted and not yet answered; requests beyond get status 503"
    )
    max_images: Count = Field(16, description="images per request")
    max_mb: Positive = Field(32.0, description="megabytes per request")
    max_megapixels: Annotated[float, Field(gt=0, le=134)] = Field(
        50.0, description="megapixels per image"
    )
    upload_mb: Positive = Field(
        512.0, description="megabytes of all requests in memory; requests beyond get status 503"
    )
    request_seconds: Positive = Field(30.0, description="longest time for sending a request")
    connections: Count = Field(256, description="connections at the same time")
    grace_seconds: Positive = Field(
        60.0, description="longest time for answering what was accepted before a stop"
    )

    def nms(self) -> NmsSettings:
        """Return the NMS settings of the flags."""
        return NmsSettings(**{name: getattr(self, name) for name in BasicNmsSettings.model_fields})

    def nms_options(self) -> dict[str, Any]:
        """Return the given NMS flags, which a request may override."""
        names = BasicNmsSettings.model_fields.keys() & self.model_fields_set
        return {name: getattr(self, name) for name in sorted(names)}


def class_numbers(
    classes: str | int | Iterable[str | int], names: tuple[str, ...]
) -> tuple[int, ...]:
    """Look up classes of a model, given by name or number; one may stand alone.

    Raises:
        DetectorError: a name is unknown; names the nearest one.

    >>> class_numbers(["dog", 0], ("cat", "dog"))
    (1, 0)
    """
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        classes = [classes]
    return tuple(_class_number(one, names) for one in classes)


def _class_number(class_: Any, names: tuple[str, ...]) -> int:
    if not isinstance(class_, str):
        try:
            return operator.index(class_)  # numpy's whole numbers, too
        except TypeError:
            message = f"classes: expected names or numbers, found {shown(class_)}"
            raise DetectorError(message) from None
    if class_ in names:
        return names.index(class_)
    if class_.isdecimal() and int(class_) < len(names):
        return int(class_)
    hint = nearest(class_, names)
    hint = hint or f"; the model has {len(names)} classes: {', '.join(names[:20])}"
    raise DetectorError(f"unknown class {class_!r}{hint}")


class ExportedFileSettings(DataSettings, BasicNmsSettings):
    """Export."""

    format: FormatName = Field("onnx", description="format of the file")
    output: Path | None = Field(None, description="file to write; default: beside the weights")
    imgsz: ImageSize | None = Field(
        None, description="side of the square input, or HEIGHT,WIDTH, pixels; default: stored"
    )
    batch: Annotated[int, Field(ge=1, le=MAX_FIXED_BATCH)] = Field(
        1, description="images per call of the file, which takes no other number"
    )
    dynamic: bool = Field(False, description="any batch and any size that the strides divide")
    source: str | None = Field(None, description="real images to compare on; default: drawn ones")
    opset: Annotated[int, Field(ge=MIN_OPSET, le=MAX_OPSET)] = Field(
        18, description="ONNX operator set"
    )
    decoded: bool = Field(
        False,
        description="decode all boxes and scores in the file, for programs of your own; "
        "otherwise it gives raw outputs, of which detector decodes what may count",
    )
    precision: PrecisionName = Field(
        "fp32",
        description="fp16: weights in half the bytes, arithmetic in fp32; bf16: arithmetic in "
        "bf16 where a machine has it; int8: weights and activations in 8 bits; the AP of bf16 and "
        "int8 is measured on --data",
    )
    nms: bool = Field(False, description="include NMS in the file, with the settings below")
    split: str = Field("val", description="split to measure on, where --data is given")
    calibrate: str | None = Field(
        None, description="annotated images that INT8's ranges are measured on, as --data"
    )
    calibration_split: str = Field("train", description="their split")
    calibration_images: Count = Field(
        300, description="their number, with every class of the split"
    )
    max_drop: Annotated[float, Field(ge=0, le=1)] = Field(
        0.005,
        description="bf16, int8: largest drop of AP, or accuracy, beyond which nothing is written",
    )

    def in_file(self) -> NmsSettings | None:
        """Return the NMS settings of a file that holds NMS, else None."""
        if not self.nms:
            return None
        flags = {name: getattr(self, name) for name in BasicNmsSettings.model_fields}
        return NmsSettings(**flags)


class ExportSettings(ExportedFileSettings, ToolSettings):
    """Export to ONNX, OpenVINO or torch.export, and compare the outputs."""

    weights: Path = Field(description=".safetensors, or another project's .pt")
    accept: Path | None = Field(
        None,
        description="instead of exporting, compare this .onnx, changed since its export, with the "
        "weights and seal it anew; written in place or to --output",
    )


class InfoSettings(ToolSettings):
    """Rows, parameters, MACs, memory and lint warnings of a model file."""

    cfg: str = Field(description="model file, cfg/*.yaml")
    variant: str | None = Field(None, description="row of the model file's table of variants")
    classes: Count | None = Field(None, description="number of classes in place of the file's")
    imgsz: ImageSize | None = Field(
        None, description="side of the square input, or HEIGHT,WIDTH, pixels"
    )
    compare: tuple[str, ...] = Field((), description="further model files, FILE or FILE:VARIANT")
    plot: Path | None = Field(None, description="draw the costs of all into this PNG file")
    measure: Count | None = Field(
        None, description="time both forms in turns, so many runs each; default: no run"
    )


class CheckSettings(ToolSettings):
    """Versions, devices, cores, matrix instructions, installed extras, writable folders."""


class DataCheckSettings(ToolSettings):
    """Check a data set: duplicates, labels, classes, sizes of objects, pixels, files."""

    data: str = Field(description="data set: datasets/*.yaml, or a folder")
    data_root: Path | None = Field(None, description="folder in place of the definition's path")
    split: tuple[str, ...] | None = Field(
        None, description="splits to check, as train,val; default: all"
    )
    limit: Count | None = Field(None, description="read only the first images of each split")
    imgsz: ImageSize | None = Field(
        None,
        description="side of the square network input, or HEIGHT,WIDTH, pixels, for the sizes of "
        "objects; default: the model's, or 640",
    )
    cfg: str | None = Field(None, description="model file whose anchors are checked, cfg/*.yaml")
    variant: str | None = Field(None, description="row of the model file's table of variants")
    weights: Path | None = Field(
        None, description="weights in place of a model file: .safetensors, or another project's .pt"
    )
    strict: bool = Field(False, description="exit with status 1 if there is an error or a warning")
    html: Path | None = Field(None, description="write the report with pictures as an HTML file")
    fix: Path | None = Field(
        None,
        description="write a copy into this new folder without broken images, equal boxes, and "
        "train's exact copies of images of other splits",
    )


class AnchorSettings(ToolSettings, DataSettings, AnchorMatchSettings):
    """Fit anchors to a data set."""

    cfg: str = Field(description="model file, cfg/*.yaml: how many anchors on how many levels")
    variant: str | None = Field(None, description="row of the model file's table of variants")
    imgsz: ImageSize = Field(
        640, description="side of the square network input, or HEIGHT,WIDTH, pixels"
    )
    split: str = Field("train", description="split whose boxes are fitted")
    seed: Seed = Field(0, description="seed of the initial clusters")
