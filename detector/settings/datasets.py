"""Settings of the tools for data sets: ``check``, ``convert``, ``anchors``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from detector.settings.common import CutSettings, DataSettings, ToolSettings
from detector.settings.heads import AnchorMatchSettings
from detector.settings.values import Count, ImageSize, ImageTransfer, LabelFormatName, Seed


class ConvertSettings(ToolSettings, DataSettings, CutSettings):
    """Convert a data set to another format of labels."""

    to: LabelFormatName = Field(description="format to write")
    output: Path = Field(
        description="new or empty folder to write", json_schema_extra={"positional": "OUT"}
    )
    images: ImageTransfer = Field(
        "link",
        description="link: a second name of the same file, which takes no space and stays when the "
        "first is removed; symlink: a pointer to it; copy; tiles are written as PNG",
    )
    splits: tuple[str, ...] | None = Field(None, description="splits to convert; default: all")


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
