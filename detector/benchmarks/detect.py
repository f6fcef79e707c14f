"""``benchmark detect``: speed from image files to boxes by runtime, batch size and threads.

Each configuration runs in its own process (``detect_worker.py``); these are measured in turns, one
at a time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.benchmarks.detect_report import (
    MeasuredConfiguration,
    TimedRun,
    format_report,
    plot,
    to_dict,
)
from detector.benchmarks.detect_worker import Configuration
from detector.benchmarks.operators import measure_shares
from detector.benchmarks.settings import DetectBenchmarkSettings, Runner
from detector.benchmarks.timing import sized_model
from detector.benchmarks.workers import worker
from detector.data.formats.shapes import draw_image
from detector.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.run import export_model
from detector.model.cost import cost
from detector.model.deploy import deploy
from detector.model.detector import Detector
from detector.predict import open_backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings.common import RuntimeSettings
from detector.settings.values import FloatPrecision, PrecisionName, RunPrecision
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image
from detector.weights.checkpoint import load, save_weights

WORKER = "detector.benchmarks.detect_worker"
"""Module that measures one configuration."""
DRAWN_HW = (480, 640)
"""Height and width of the drawn images, pixels."""
MATRIX_SIDE = 2048
"""Side of the square float32 matrices whose product measures the machine's peak speed."""


def benchmark(settings: DetectBenchmarkSettings) -> dict[str, Any]:
    """Measure all configurations in turns; print a table and return the metrics."""
    model = _model(settings)
    with tempfile.TemporaryDirectory() as folder:
        source = settings.source or _drawn_images(Path(folder) / "images", settings.images)
        measured = list(_configurations(settings, model, source, Path(folder)))
        peaks = _measure(settings, measured)
        if settings.operators:
            _measure_operators(measured)
        if settings.data is not None:
            _measure_ap(measured, open_evaluation_set(settings, settings.split, model))
        print(format_report(measured, peaks))
        if settings.plot is not None:
            plot(measured, settings.plot)
        return to_dict(measured, peaks)


def _measure(
    settings: DetectBenchmarkSettings, measured: list[MeasuredConfiguration]
) -> dict[int, float]:
    """Run all configurations in turns, and add their times to them.

    Returns:
        The machine's peak operations per second by number of threads.
    """
    peaks = dict.fromkeys(settings.threads, 0.0)
    with ExitStack() as stack:
        workers = []
        for one in measured:
            started = worker(WORKER, one.configuration.model_dump_json())
            workers.append(stack.enter_context(started))
            one.start_seconds = workers[-1].start_seconds
        for turn in range(settings.rounds + 1):
            for threads, peak in peaks.items():
                peaks[threads] = max(peak, _matrix_product_flops(threads))
            for one, process in zip(measured, workers, strict=True):
                run = TimedRun(**process.ask())
                if turn:  # the first warms up
                    one.runs.append(run)
    return peaks


def _model(settings: DetectBenchmarkSettings) -> Detector:
    if settings.weights is None:
        return sized_model(settings.cfg, settings.variant, settings.imgsz)
    model = load(settings.weights)
    size_hw = model.size_of(settings.imgsz or model.preprocess.size_hw)
    model.preprocess = model.preprocess.with_size(size_hw)
    return model


def _drawn_images(folder: Path, count: int) -> str:
    """Write ``count`` JPEG files with images of the built-in data set, and return their folder."""
    rng = np.random.default_rng(0)
    height, width = DRAWN_HW
    for number in range(count):
        write_image(folder / f"{number:04d}.jpg", draw_image(rng, width)[0][:height])
    return str(folder)


@dataclass(frozen=True)
class _MeasuredFile:
    """A file to measure, in all combinations of its settings.

    Attributes:
        runner: its runtime.
        path: the file.
        flops: operations of the network per image.
        batches: batch sizes.
        precisions: precisions of the arithmetic to ask for.
        certified: precision that the file is certified for; None if it was written here.
    """

    runner: Runner
    path: Path
    flops: int
    batches: Sequence[int]
    precisions: Sequence[RunPrecision]
    certified: PrecisionName | None = None


def _configurations(
    settings: DetectBenchmarkSettings, model: Detector, source: str, folder: Path
) -> Iterator[MeasuredConfiguration]:
    """Yield all combinations; each format is written once for one image and once for batches."""
    for file in _files(settings, model, folder):
        combinations = product(file.batches, settings.threads, settings.modes, file.precisions)
        for batch, threads, mode, precision in combinations:
            configuration = Configuration(
                weights=file.path,
                source=source,
                batch=batch,
                confidence=settings.confidence,
                device="cpu",
                threads=threads,
                precision=precision,
                mode=mode,
            )
            shown = file.certified or ("fp32" if precision == "auto" else precision)
            name = file.path.name if file.certified else ""
            yield MeasuredConfiguration(
                file.runner, threads, configuration, file.flops, shown, name
            )


def _files(
    settings: DetectBenchmarkSettings, model: Detector, folder: Path
) -> Iterator[_MeasuredFile]:
    """Write the network for each runtime, and yield these files and those of ``--files``."""
    fused = deploy(model)[0]
    trained_flops, fused_flops = (
        2 * cost(network, network.preprocess.size_hw).macs for network in (model, fused)
    )
    given = [_given_file(settings, path, fused_flops) for path in settings.files]
    for runner in settings.formats:
        flops = trained_flops if runner == "pytorch" else fused_flops
        precisions = list(_precisions(runner, settings.precisions))
        for dynamic, batches in _batches_by_file(runner, settings.batches):
            path = _write_model(model, fused, runner, dynamic, folder)
            yield _MeasuredFile(runner, path, flops, batches, precisions)
    yield from given


def _given_file(settings: DetectBenchmarkSettings, path: Path, flops: int) -> _MeasuredFile:
    """Open a file of ``--files`` to see what it is."""
    backend = open_backend(path, RuntimeSettings(device="cpu"))
    if not isinstance(backend, ExportedBackend):
        raise DetectorError("--files takes exported files; --weights the network", file=path)
    runner = next(name for name, form in FORMATS.items() if form.suffix == path.suffix.lower())
    batches = [backend.batch_size] if backend.batch_size else settings.batches
    return _MeasuredFile(runner, path, flops, batches, ["auto"], backend.metadata.precision)


def _precisions(runner: Runner, asked: Sequence[FloatPrecision]) -> Iterator[FloatPrecision]:
    """Yield the precisions that a runtime computes in; a line names the others."""
    for precision in asked:
        if precision == "fp32" or runner not in ("onnx", "pt2"):
            yield precision
        else:
            print(f"{runner} computes in fp32: it is not measured in {precision}")


def _batches_by_file(
    runner: Runner, batches: Sequence[int]
) -> Iterator[tuple[bool, Sequence[int]]]:
    """Yield, for each file to write, whether its batch size is dynamic, and the batch sizes.

    Files for a single image are separate, since they are faster.
    """
    if runner in ("pytorch", "fused"):
        yield True, batches
        return
    for dynamic in (False, True):
        own = [batch for batch in batches if (batch > 1) == dynamic]
        if own:
            yield dynamic, own


def _write_model(
    model: Detector, fused: Detector, runner: Runner, dynamic: bool, folder: Path
) -> Path:
    """Write the network for a runner, and return the path of the file."""
    print(f"writing {runner}, for {'any batch size' if dynamic else 'one image'}")
    path = folder / f"{runner}{'-dynamic' if dynamic else ''}.safetensors"
    if runner == "pytorch" or runner == "fused":  # noqa: PLR1714 (mypy narrows this form only)
        save_weights(path, model if runner == "pytorch" else fused)
        return path
    return export_model(model, runner, path.with_suffix(""), options=Options(dynamic=dynamic)).path


def _matrix_product_flops(threads: int) -> float:
    """Measure the float32 operations per second of a large matrix product."""
    torch.set_num_threads(threads)
    matrix = torch.rand(MATRIX_SIDE, MATRIX_SIDE)
    start = time.perf_counter()
    matrix @ matrix
    return 2 * MATRIX_SIDE**3 / (time.perf_counter() - start)


def _measure_operators(measured: list[MeasuredConfiguration]) -> None:
    """Add the shares of operators to all configurations of one batch, where they are counted."""
    for one in measured:
        of = one.configuration
        if of.batch == 1 and of.mode == "latency":
            one.shares = measure_shares(one.runner, of.weights, one.threads, of.precision)


def _measure_ap(measured: list[MeasuredConfiguration], evaluation_set: EvaluationSet) -> None:
    """Measure the first metric of each file in each precision, and add it to all configurations."""
    found: dict[tuple[Path, RunPrecision], float] = {}
    for one in measured:
        path, precision = one.configuration.weights, one.configuration.precision
        if (path, precision) not in found:
            backend = open_backend(path, RuntimeSettings(device="cpu", precision=precision))
            metrics = evaluation_set.measure(backend, backend.eval_nms, batch=1)
            found[path, precision] = next(iter(metrics.summary.values()))
        one.ap = found[path, precision]
