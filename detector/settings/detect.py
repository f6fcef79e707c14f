"""Settings of ``detect``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from detector.settings.common import RuntimeSettings, ToolSettings, ViewSettings
from detector.settings.nms import BasicNmsSettings, NmsSettings, class_numbers
from detector.settings.streams import SegmentMinutes, StreamSettings
from detector.settings.track import TrackSettings
from detector.settings.values import MAX_DROP, Count, Fraction, SavedFormatName, WeightFiles
from detector.utils.errors import DetectorError


class DetectSettings(
    ToolSettings, RuntimeSettings, ViewSettings, StreamSettings, TrackSettings, BasicNmsSettings
):
    """Detect objects in images and videos, or classify them."""

    weights: WeightFiles = Field(
        description=".safetensors, .onnx, .xml, .pt2, or another project's .pt; given more than "
        "once, or a folder: exported files of one network, of which the fastest is used whose "
        "certificate allows it",
        json_schema_extra={"repeated": "yes"},
    )
    max_drop: Fraction = Field(
        MAX_DROP, description="of several files: largest drop of AP, or accuracy, by the export"
    )
    source: str = Field(
        description="image, video, camera, stream, folder, glob, or list: .txt, .streams"
    )
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
    segment_minutes: SegmentMinutes = Field(
        10.0, description="length of the files into which results of cameras and streams are split"
    )
    show: bool = Field(False, description="show images with boxes in a window")
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
