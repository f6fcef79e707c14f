"""Settings of ``tracks``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from detector.settings.common import ToolSettings


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
