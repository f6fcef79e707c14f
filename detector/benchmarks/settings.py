"""The benchmarks' settings, which are their flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from detector.settings import Count, DataSettings, Fraction, ImageSide, Mode, ToolSettings
from detector.utils.yaml_file import Strict


class BenchmarkSettings(ToolSettings):
    """How to measure."""

    threads: Count = Field(2, description="compute threads")
    rounds: Count = Field(10, description="runs of each, in turns")


class NetworkSettings(Strict):
    """Which network."""

    cfg: str = Field("cfg/yolov5n.yaml", description="model file, cfg/*.yaml")
    variant: str | None = Field(None, description="row of the model file's table of variants")
    imgsz: ImageSide | None = Field(None, description="side of the square network input, pixels")


class ModelBenchmarkSettings(BenchmarkSettings, NetworkSettings):
    """How to measure which network."""


class TrainBenchmarkSettings(ModelBenchmarkSettings):
    """Images per second of training."""

    data: str | None = Field(None, description="definition (datasets/*.yaml) or a bare folder")
    data_root: Path | None = Field(None, description="folder in place of the definition's path")
    batch: Count = Field(16, description="images per training step")
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None, description="processes that load images; default: as for training"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the bare step")


class SaveBenchmarkSettings(TrainBenchmarkSettings):
    """Seconds of a checkpoint, beside those of an epoch."""

    folder: Path | None = Field(
        None, description="where to write; default: the system's folder for temporary files"
    )


Runner = Literal["pytorch", "fused", "onnx", "openvino", "pt2"]
"""What runs a network: PyTorch as trained, PyTorch after deploy, or an exported file."""


class DetectBenchmarkSettings(ToolSettings, NetworkSettings, DataSettings):
    """Files on disk to boxes: speed by phase, memory, start-up and AP by format and threads."""

    weights: Path | None = Field(
        None, description=".safetensors or a foreign .pt; default: --cfg with random weights"
    )
    formats: tuple[Runner, ...] = Field(
        ("pytorch", "fused", "onnx", "openvino", "pt2"), description="what is compared"
    )
    batches: tuple[Count, ...] = Field((1, 8), description="images per forward pass")
    threads: tuple[Count, ...] = Field((2,), description="compute threads")
    modes: tuple[Mode, ...] = Field(
        ("latency",), description="latency: all threads on one batch; throughput: each on its own"
    )
    source: str | None = Field(None, description="images to run on; default: drawn ones")
    images: Count = Field(128, description="number of drawn images, JPEG files of 640×480")
    confidence: Fraction = Field(0.25, description="lowest score that is kept")
    rounds: Count = Field(5, description="runs of each over all images, in turns")
    split: str = Field("val", description="split to measure AP on, where --data is given")
    plot: Path | None = Field(None, description="draw images per second into this PNG file")


class SsdBenchmarkSettings(BenchmarkSettings):
    """SSD300 beside torchvision's, image to boxes."""


class BackboneBenchmarkSettings(BenchmarkSettings):
    """RepVGG as trained and deployed, beside timm's."""

    precision: Literal["fp32", "bf16"] = Field("fp32", description="of the multiplications")
