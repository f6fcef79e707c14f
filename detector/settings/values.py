"""Types, limits and texts of the values of settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field
from pydantic_core import PydanticKnownError

TaskName = Literal["detect", "classify"]
"""Output of a network: boxes with scores, or one probability per class."""

FormatName = Literal["onnx", "openvino", "pt2"]
"""Formats of exported files."""

CocoLibrary = Literal["pycocotools", "faster-coco-eval"]
"""Libraries that compute COCO AP; the default first."""

FloatPrecision = Literal["fp32", "fp16", "bf16"]
"""Precisions in which a device multiplies matrices."""

PrecisionName = Literal["fp32", "bf16", "fp16", "int8"]
"""Precisions of an exported file; for what each allows see
:mod:`detector.runtime.backends.precision`."""

RunPrecision = Literal["auto", FloatPrecision]
"""Precisions of the arithmetic of a run; auto: that which the file is certified for."""
Letterbox = Literal["square", "rectangle"]
Mode = Literal["latency", "throughput"]

LoggerName = Literal["tensorboard", "wandb", "mlflow", "csv"]
"""Loggers of a training; csv is the file that every run has."""

CacheKind = Literal["ram", "disk", "none"]
"""Places where decoded images are cached."""

LabelFormatName = Literal["yolo", "coco", "voc", "csv"]
"""Formats of labels that data sets are converted to."""

SavedFormatName = Literal["coco", "yolo", "voc", "labelstudio", "cvat"]
"""Formats of labels that detections are saved in."""

ImageTransfer = Literal["link", "symlink", "copy"]
"""Ways to put images into a converted data set."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]

MAX_DROP = 0.005
"""Largest drop of AP, or accuracy, that an export may cost unless a flag says otherwise."""

MAX_COUNT = (1 << 31) - 1
"""Largest count in settings: libraries compute with 32 bits, or with 64."""

MAX_SEED = (1 << 32) - 1
"""Largest seed: NumPy's global generator takes 32 bits."""

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountFromZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
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


def _as_several(value: Any) -> Any:
    return (value,) if isinstance(value, (str, Path)) else value


WeightFiles = Annotated[
    tuple[Path, ...], pydantic.BeforeValidator(_as_several), Field(min_length=1)
]
"""One file of weights, or several, or folders of them."""


def typed_text(value: Any) -> str:
    """Return a setting's value as it is typed on the command line.

    >>> typed_text((384, 640)), typed_text(0.5)
    ('384,640', '0.5')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def comma_list(words: Sequence[str]) -> str:
    """Return words as a sentence lists them.

    >>> comma_list(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"
