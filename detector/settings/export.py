"""Settings of ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from detector.settings.common import DataSettings, ToolSettings
from detector.settings.nms import BasicNmsSettings, NmsSettings
from detector.settings.values import MAX_DROP, Count, FormatName, ImageSize, PrecisionName

MIN_OPSET, MAX_OPSET = 13, 23
"""First and last ONNX operator set that files are written in."""

MAX_FIXED_BATCH = 64
"""Largest fixed number of images per call that an exported file may have."""


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
    per_tensor: bool = Field(
        False,
        description="int8: one scale for all weights of a layer, for machines without one for each "
        "output channel",
    )
    max_drop: Annotated[float, Field(ge=0, le=1)] = Field(
        MAX_DROP,
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
