"""Settings that several tools share: data, tiles, inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from detector.settings.values import (
    CocoLibrary,
    Count,
    Fraction,
    ImageSide,
    ImageSize,
    Letterbox,
    Mode,
    RunPrecision,
)
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import Strict

BUILT_IN_DATA = "datasets/shapes.yaml"
"""Data set used where none is named: drawn images, no download."""


class EvaluatorSettings(Strict):
    """Library for COCO AP."""

    evaluator: CocoLibrary = Field(
        "pycocotools",
        description="library that computes COCO AP; faster-coco-eval, for thousands of images, "
        "gives the same metrics and needs the extra faster",
    )


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


ViewScale = Annotated[float, Field(gt=0, le=4)]


class ViewSettings(TileSettings):
    """Test-time augmentation."""

    tta: bool = Field(
        False, description="find boxes in several views of each image, and merge them by NMS"
    )
    tta_scales: Annotated[tuple[ViewScale, ...], Field(min_length=1)] = Field(
        (1.0,), description="scales of the views, as parts of the network's input: 0.83,1,1.2"
    )
    tta_flip: bool = Field(True, description="show each view flipped left to right, too")

    @pydantic.field_validator("tta_scales", "tta_flip")
    @classmethod
    def _belongs_to_views(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Reject a value without effect: there are no views without ``tta``."""
        default = cls.model_fields[str(info.field_name)].default
        if value != default and info.data.get("tta") is False:
            raise ValueError("has no effect without tta")
        return value

    def describe_views(self) -> str:
        """Return how images are shown, in words; "" if they are shown once."""
        if not self.tta:
            return ""
        scales = ", ".join(f"{scale:g}" for scale in self.tta_scales)
        flips = ", each flipped, too" if self.tta_flip else ""
        return f"test-time augmentation: scale {scales}{flips}"


class CutSettings(TileSettings):
    """Tiles as images of a data set, for small objects in large images."""

    tile_visible: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="least visible share of a box that a tile keeps"
    )


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


class PredictorSettings(ViewSettings, RuntimeSettings):
    """Inference, batch size, tiles and views."""

    batch: Count = Field(1, description="images per forward pass")
