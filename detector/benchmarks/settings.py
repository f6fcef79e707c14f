"""Settings of the benchmarks, from which their flags are made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from detector.settings.common import DataSettings, ToolSettings
from detector.settings.values import Count, CountFromZero, FloatPrecision, Fraction, ImageSize, Mode
from detector.utils.yaml_file import Strict


class BenchmarkSettings(ToolSettings):
    """Measurement."""

    threads: Count = Field(2, description="compute threads")
    rounds: Count = Field(10, description="number of runs of each alternative, measured in turns")


class NetworkSettings(Strict):
    """Network."""

    cfg: str = Field("cfg/yolov5n.yaml", description="model file, cfg/*.yaml")
    variant: str | None = Field(
        None, description="variant of the model, as the model file names it"
    )
    imgsz: ImageSize | None = Field(
        None, description="side of the square network input, or HEIGHT,WIDTH, pixels"
    )


class ModelBenchmarkSettings(BenchmarkSettings, NetworkSettings):
    """Measurement of a network."""


class TrainBenchmarkSettings(ModelBenchmarkSettings):
    """Images per second of training: step, whole loop, and loader alone."""

    data: str | None = Field(None, description="data set: datasets/*.yaml, or a folder of images")
    data_root: Path | None = Field(
        None, description="folder of the data set, in place of the one in its YAML file"
    )
    batch: Count = Field(16, description="images per training step")
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None, description="processes that load images; default: as for training"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="precision of training; auto: mixed if the device gains from it"
    )
    device: str = Field("cpu", description="cpu, cuda, cuda:1, mps")


class SaveBenchmarkSettings(TrainBenchmarkSettings):
    """Time to write checkpoints, compared with the time of an epoch."""

    folder: Path | None = Field(
        None, description="folder to write to; default: the system's folder for temporary files"
    )


Runner = Literal["pytorch", "fused", "onnx", "openvino", "pt2"]
"""Runtime of a network: PyTorch as trained, PyTorch after ``deploy``, or an exported file."""


class DetectBenchmarkSettings(ToolSettings, NetworkSettings, DataSettings):
    """Speed from image files to boxes, memory, start-up time and AP, by format and threads."""

    weights: Path | None = Field(
        None,
        description=".safetensors, or another project's .pt; default: --cfg with random weights",
    )
    formats: tuple[Runner, ...] = Field(
        ("pytorch", "fused", "onnx", "openvino", "pt2"), description="runtimes to compare"
    )
    precisions: tuple[FloatPrecision, ...] = Field(
        ("fp32",), description="precisions of the arithmetic to compare, where a runtime has them"
    )
    files: tuple[Path, ...] = Field(
        (), description="exported files to measure, too, each in the precision it is certified for"
    )
    batches: tuple[Count, ...] = Field((1, 8), description="batch sizes to compare")
    threads: tuple[Count, ...] = Field((2,), description="numbers of compute threads to compare")
    modes: tuple[Mode, ...] = Field(
        ("latency",),
        description="latency: all threads work on one batch; throughput: each on its own batch",
    )
    source: str | None = Field(
        None, description="images to detect in, a folder or a file; default: drawn images"
    )
    images: Count = Field(128, description="number of drawn images, JPEG files of 640×480")
    confidence: Fraction = Field(0.25, description="lowest score of boxes that are kept")
    rounds: Count = Field(
        5, description="number of runs over all images of each alternative, measured in turns"
    )
    split: str = Field("val", description="split to measure AP on, if --data is given")
    operators: bool = Field(
        False, description="share of the network's time by kind of operator and by instructions"
    )
    plot: Path | None = Field(
        None, description="write a plot of images per second to this PNG file"
    )


Int8Format = Literal["onnx", "openvino"]
"""Formats that have files in INT8."""


class Int8BenchmarkSettings(BenchmarkSettings, DataSettings):
    """AP, time and size in INT8: one scale a channel or layer, trained for it or not."""

    networks: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="checkpoints with the names that the table shows, as c3=a.safetensors,..."
    )
    formats: tuple[Int8Format, ...] = Field(("openvino", "onnx"), description="runtimes to compare")
    scales: tuple[Literal["channel", "layer"], ...] = Field(
        ("channel", "layer"), description="what weights have one scale for"
    )
    qat_epochs: CountFromZero = Field(
        4, description="epochs of training for INT8, see train --qat; 0: none"
    )
    imgsz: ImageSize | None = Field(
        None, description="side of the square input, or HEIGHT,WIDTH, pixels; default: stored"
    )
    split: str = Field("val", description="split to measure on")
    calibrate: str | None = Field(
        None, description="annotated images that ranges are measured on; default: those of --data"
    )
    calibration_split: str = Field("train", description="their split")
    calibration_images: Count = Field(300, description="their number")
    folder: Path = Field(Path("runs/int8"), description="folder of the files and trainings")
    markdown: Path | None = Field(None, description="write the table to this file as Markdown")


class SsdBenchmarkSettings(BenchmarkSettings):
    """Speed of SSD300 from image to boxes, compared with torchvision's."""


class BackboneBenchmarkSettings(BenchmarkSettings):
    """Speed of RepVGG as trained and deployed, compared with timm's; or of any networks."""

    precision: Literal["fp32", "bf16"] = Field("fp32", description="precision of the forward pass")
    compare: tuple[str, ...] = Field(
        (), description="networks to measure in place of RepVGG, FILE or FILE:VARIANT"
    )
    batches: tuple[Count, ...] = Field((1, 16), description="batch sizes of --compare")
    imgsz: ImageSize | None = Field(
        None, description="side of --compare's square input, or HEIGHT,WIDTH, pixels; default: 224"
    )
    plot: Path | None = Field(None, description="draw the measures of --compare into this PNG file")
