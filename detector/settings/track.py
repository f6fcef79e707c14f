"""Settings of tracks: to follow objects, and to measure what was followed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from detector.settings.common import ToolSettings
from detector.settings.values import Positive
from detector.utils.yaml_file import Strict

TrackerName = Literal["bytetrack", "ocsort", "botsort"]
"""Trackers of the library ``trackers`` that are offered."""

MAX_TRAIL = 1000
"""Largest number of frames that a trail shows; it bounds the memory of a track."""


class TrackSettings(Strict):
    """Tracks of objects in videos."""

    track: TrackerName | None = Field(
        None,
        description="follow objects in videos: boxes from --confidence on begin a track; boxes "
        "from 0.1 on continue it, except with ocsort; boxes of no track are left out",
    )
    trail: Annotated[int, Field(ge=0, le=MAX_TRAIL)] = Field(
        30, description="frames that the drawn trail of a track shows; 0: none"
    )
    count: tuple[str, ...] | None = Field(
        None,
        description="count what crosses line:x1,y1,x2,y2 or enters and leaves "
        "zone:x1,y1,x2,y2,x3,y3,...; pixels of the frame; may be repeated",
        json_schema_extra={"repeated": "yes"},
    )
    mot: bool = Field(False, description="write the tracks of each video in MOT's format")
    fps: Positive | None = Field(
        None,
        description="images of the source are the frames of one video, that many a second",
    )

    @pydantic.field_validator("trail", "count", "mot", "fps")
    @classmethod
    def _belongs_to_tracks(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Reject a value without effect: nothing is followed without ``track``."""
        default = cls.model_fields[str(info.field_name)].default
        if value != default and info.data.get("track", "") is None:
            raise ValueError("has no effect without track")
        return value


class TracksSettings(ToolSettings):
    """Measure tracks against ground truth: HOTA, CLEAR, IDF1."""

    ground_truth: Path = Field(
        description="file in MOT's format, or a folder of NAME.txt or NAME/gt/gt.txt"
    )
    tracks: Path = Field(description="file of detect --mot, or a folder of NAME.txt")
    iou: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="from which boxes match, for CLEAR and IDF1; HOTA averages over 0.05 to 0.95",
    )
