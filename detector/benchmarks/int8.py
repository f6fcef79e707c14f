"""``benchmark int8``: what INT8 costs and gains, network by network.

Each network is quantised with weights of one scale for each output channel and of one scale a
layer, as it was trained and after training for INT8. All rows are in 8 bits, whatever is lost.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.benchmarks.int8_report import Int8Row, Scales, Way, table
from detector.benchmarks.settings import Int8BenchmarkSettings, Int8Format
from detector.benchmarks.timing import interleaved
from detector.engine.auto.choose import preset_values
from detector.engine.head_settings import class_for, train_settings
from detector.engine.training import run_training
from detector.export.formats import FORMATS
from detector.export.request import export_as
from detector.export.run import ExportReport
from detector.predict import open_backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings.common import RuntimeSettings
from detector.settings.export import ExportedFileSettings
from detector.settings.train import NO_PRESET, TrainSettings
from detector.utils.errors import DetectorError
from detector.utils.files import write_text
from detector.weights.checkpoint import load

PRESET = "cfg/train/qat.yaml"
"""Settings of training for INT8."""

ANY_DROP = 1.0
"""Largest drop of a metric that lets every file pass."""


def benchmark(settings: Int8BenchmarkSettings) -> dict[str, Any]:
    """Make and measure all files; print a table, write it after each network, return its rows."""
    settings.named_data("measure on")
    networks = dict(map(_name_and_file, settings.networks))
    if len(networks) < len(settings.networks):
        raise DetectorError("--networks: a name is given twice")
    torch.set_num_threads(settings.threads)
    rows: list[Int8Row] = []
    for name, weights in networks.items():
        rows += _measure(settings, name, weights)
        text = table(rows)
        if settings.markdown is not None:
            write_text(settings.markdown, f"{text}\n")
    print(text)
    return {"rows": [asdict(row) for row in rows], "threads": settings.threads}


def _name_and_file(text: str) -> tuple[str, Path]:
    """Return name and file of ``NAME=FILE``; a file alone is called by its stem.

    Raises:
        DetectorError: there is no such file.
    """
    name, _, file = text.rpartition("=")
    if not Path(file).is_file():
        raise DetectorError("no such file; --networks takes NAME=FILE,...", file=file)
    return name or Path(file).stem, Path(file)


def _measure(settings: Int8BenchmarkSettings, name: str, weights: Path) -> list[Int8Row]:
    """Return the rows of one network: its files in float, then those in INT8."""
    reports = list(_exported(settings, name, weights))
    paths = [report.path for *_, report in reports]
    times = _ms_per_image(paths, settings.threads, settings.rounds)
    return [
        _row(name, format, way, scales, report, ms)
        for (format, way, scales, report), ms in zip(reports, times, strict=True)
    ]


Made = tuple[Int8Format, Way, Scales, ExportReport]


def _exported(settings: Int8BenchmarkSettings, name: str, weights: Path) -> Iterator[Made]:
    """Write the files of one network and yield their reports."""
    folder = settings.folder / name
    for format in settings.formats:
        yield format, "float", "", _export(settings, format, weights, folder / "float")
    for scales in settings.scales:
        sources: dict[Way, Path] = {"trained": weights}
        if settings.qat_epochs:
            sources["trained for INT8"] = _train(settings, weights, folder, scales)
        for way, source in sources.items():
            for format in settings.formats:
                path = folder / f"{way.replace(' ', '-').lower()}-{scales}"
                print(f"{name}: {way}, {format}, one scale a {scales}")
                int8 = {"precision": "int8", "per_tensor": scales == "layer"}
                yield format, way, scales, _export(settings, format, source, path, **int8)


def _export(
    settings: Int8BenchmarkSettings, format: Int8Format, weights: Path, path: Path, **int8: Any
) -> ExportReport:
    """Write a file and measure its metric before and after."""
    if int8:
        int8 |= {
            "calibrate": settings.calibrate or settings.data,
            "calibration_split": settings.calibration_split,
            "calibration_images": settings.calibration_images,
            "max_drop": ANY_DROP,
        }
    data = {key: getattr(settings, key) for key in ("data", "data_root", "limit", "imgsz", "split")}
    asked = ExportedFileSettings(format=format, **data, **int8)
    return export_as(load(weights), asked, path)


def _train(settings: Int8BenchmarkSettings, weights: Path, folder: Path, scales: Scales) -> Path:
    """Train a network for INT8, and return its best checkpoint."""
    return run_training(training_settings(settings, weights, folder, scales)).best


def training_settings(
    settings: Int8BenchmarkSettings, weights: Path, folder: Path, scales: Scales
) -> TrainSettings:
    """Return the settings of a training for INT8: those of the preset that the head has."""
    optional = {"data_root": settings.data_root, "limit": settings.limit, "imgsz": settings.imgsz}
    given = {name: value for name, value in optional.items() if value is not None}
    values = {
        **preset_values(PRESET, class_for({"weights": weights})),
        "epochs": settings.qat_epochs,
        "project": folder / f"training-{scales}",
        "pictures": False,
        "per_tensor": scales == "layer",
    }
    return train_settings(
        weights=weights, data=settings.data, qat=True, preset=NO_PRESET, **values, **given
    )


def _ms_per_image(paths: list[Path], threads: int, rounds: int) -> list[float]:
    """Run all files on a blank image in turns, and return the median times, ms."""
    runtime = RuntimeSettings(device="cpu", threads=threads)
    runs: dict[str, Callable[[], None]] = {}
    for number, path in enumerate(paths):
        backend = open_backend(path, runtime)
        assert isinstance(backend, ExportedBackend)
        blank = np.zeros(backend.input_shape, np.float32)
        runs[str(number)] = partial(_run, backend, blank)
    return [1000 * statistics.median(seconds) for seconds in interleaved(runs, rounds).values()]


def _run(backend: ExportedBackend, images: Any) -> None:
    backend(images)


def _row(
    name: str, format: Int8Format, way: Way, scales: Scales, report: ExportReport, ms: float
) -> Int8Row:
    measured = report.certificate.measured
    assert measured is not None
    metric, before, after = measured.main
    files = FORMATS[format].files(report.path)
    return Int8Row(
        network=name,
        format=format,
        way=way,
        scales=scales,
        metric=metric,
        before=before,
        after=after,
        change=measured.intervals.change if measured.intervals else None,
        ms=ms,
        megabytes=sum(path.stat().st_size for path in files) / 1e6,
    )
