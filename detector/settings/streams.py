"""Settings of videos, cameras and streams."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detector.settings.values import Count
from detector.utils.yaml_file import Strict

MAX_SECONDS = 366 * 24 * 3600.0
"""Longest time that a setting may ask for: a year."""

Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]

SegmentMinutes = Annotated[float, Field(gt=0, le=MAX_SECONDS / 60)]


class StreamSettings(Strict):
    """Videos, cameras and streams."""

    vid_stride: Count = Field(1, description="use every Nth frame of videos, cameras and streams")
    latest: bool = Field(
        False,
        description="drop the frames of a camera or stream that come too fast, and count them",
    )
    give_up: Seconds = Field(
        60.0, description="seconds without a frame from any camera or stream before the run ends"
    )
