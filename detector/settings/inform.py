"""Settings of ``info`` and ``checks``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from detector.settings.common import ToolSettings
from detector.settings.values import Count, ImageSize


class InfoSettings(ToolSettings):
    """Rows, parameters, MACs, memory and lint warnings of a model file or of trained weights."""

    cfg: str | None = Field(None, description="model file, cfg/*.yaml")
    weights: Path | None = Field(None, description="trained weights in place of --cfg")
    variant: str | None = Field(None, description="row of the model file's table of variants")
    classes: Count | None = Field(None, description="number of classes in place of the file's")
    imgsz: ImageSize | None = Field(
        None, description="side of the square input, or HEIGHT,WIDTH, pixels"
    )
    compare: tuple[str, ...] = Field((), description="further model files, FILE or FILE:VARIANT")
    plot: Path | None = Field(None, description="draw the costs of all into this PNG file")
    connectivity: Path | None = Field(
        None,
        description="draw the mean absolute weights of concatenated features, by source, into this "
        "PNG file; needs --weights",
    )
    measure: Count | None = Field(
        None, description="time both forms in turns, so many runs each; default: no run"
    )


class CheckSettings(ToolSettings):
    """Versions, devices, cores, matrix instructions, installed extras, writable folders."""
