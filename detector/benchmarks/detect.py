"""``benchmark detect``: images on disk → boxes, by what runs the network, batch and threads.

Each configuration is a process of its own (``detect_worker.py``); they run in turns, one at a time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.benchmarks.detect_report import Configured, Run, plot, printed, to_dict
from detector.benchmarks.detect_worker import Configuration
from detector.benchmarks.settings import DetectBenchmarkSettings, Runner
from detector.benchmarks.timing import sized_model
from detector.benchmarks.workers import worker
from detector.data.formats.shapes import draw_image
from detector.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from detector.export.options import Options
from detector.export.run import export_model
from detector.model.cost import cost
from detector.model.deploy import deploy
from detector.model.detector import Detector
from detector.predict import open_backend
from detector.settings import RuntimeSettings
from detector.utils.opencv import write_image
from detector.weights.checkpoint import load, save_weights

WORKER = "detector.benchmarks.detect_worker"
DRAWN_HW = (480, 640)
MATRIX_SIDE = 2048
"""Of the square float32 matrices whose product says how fast the machine can be."""


def benchmark(settings: DetectBenchmarkSettings) -> dict[str, Any]:
    """Measure all configurations in turns; print a table and return the metrics."""
    model = _model(settings)
    with tempfile.TemporaryDirectory() as folder:
        source = settings.source or _drawn_images(Path(folder) / "images", settings.images)
        configured = list(_configured(settings, model, source, Path(folder)))
        peaks = _measure(settings, configured)
        if settings.data is not None:
            _measure_ap(configured, open_evaluation_set(settings, settings.split, model))
        print(printed(configured, peaks))
        if settings.plot is not None:
            plot(configured, settings.plot)
        return to_dict(configured, peaks)


def _measure(settings: DetectBenchmarkSettings, configured: list[Configured]) -> dict[int, float]:
    """Run all in turns; give the machine's operations per second by number of threads."""
    peaks = dict.fromkeys(settings.threads, 0.0)
    with ExitStack() as stack:
        workers = []
        for one in configured:
            started = worker(WORKER, one.configuration.model_dump_json())
            workers.append(stack.enter_context(started))
            one.start_seconds = workers[-1].start_seconds
        for turn in range(settings.rounds + 1):
            for threads, peak in peaks.items():
                peaks[threads] = max(peak, _matrix_product_flops(threads))
            for one, process in zip(configured, workers, strict=True):
                run = Run(**process.ask())
                if turn:  # the first warms up
                    one.runs.append(run)
    return peaks


def _model(settings: DetectBenchmarkSettings) -> Detector:
    if settings.weights is None:
        return sized_model(settings.cfg, settings.variant, settings.imgsz)
    model = load(settings.weights)
    side = model.square_size(settings.imgsz or model.preprocess.size_hw[0])
    model.preprocess = model.preprocess.with_size(side)
    return model


def _drawn_images(folder: Path, count: int) -> str:
    """JPEG files of the built-in set."""
    rng = np.random.default_rng(0)
    height, width = DRAWN_HW
    for number in range(count):
        write_image(folder / f"{number:04d}.jpg", draw_image(rng, width)[0][:height])
    return str(folder)


def _configured(
    settings: DetectBenchmarkSettings, model: Detector, source: str, folder: Path
) -> Iterator[Configured]:
    """Every combination; a format's files are written once for one image and once for batches."""
    fused = deploy(model)[0]
    trained_flops, fused_flops = (
        2 * cost(network, network.preprocess.size_hw).macs for network in (model, fused)
    )
    for runner in settings.formats:
        flops = trained_flops if runner == "pytorch" else fused_flops
        for dynamic, batches in _by_shape(runner, settings.batches):
            path = _written(model, fused, runner, dynamic, folder)
            for batch, threads, mode in product(batches, settings.threads, settings.modes):
                configuration = Configuration(
                    weights=path,
                    source=source,
                    batch=batch,
                    confidence=settings.confidence,
                    device="cpu",
                    threads=threads,
                    mode=mode,
                )
                yield Configured(runner, threads, configuration, flops)


def _by_shape(runner: Runner, batches: Sequence[int]) -> Iterator[tuple[bool, Sequence[int]]]:
    """Batch sizes of files for one image, which are the faster ones, and of files for any."""
    if runner in ("pytorch", "fused"):
        yield True, batches
        return
    for dynamic in (False, True):
        own = [batch for batch in batches if (batch > 1) == dynamic]
        if own:
            yield dynamic, own


def _written(model: Detector, fused: Detector, runner: Runner, dynamic: bool, folder: Path) -> Path:
    print(f"writing {runner}, for {'any batch' if dynamic else 'one image'}")
    path = folder / f"{runner}{'-dynamic' if dynamic else ''}.safetensors"
    if runner == "pytorch" or runner == "fused":  # noqa: PLR1714 (mypy narrows this form only)
        save_weights(path, model if runner == "pytorch" else fused)
        return path
    return export_model(model, runner, path.with_suffix(""), options=Options(dynamic=dynamic)).path


def _matrix_product_flops(threads: int) -> float:
    """Float32 operations per second of a large matrix product."""
    torch.set_num_threads(threads)
    matrix = torch.rand(MATRIX_SIDE, MATRIX_SIDE)
    start = time.perf_counter()
    matrix @ matrix
    return 2 * MATRIX_SIDE**3 / (time.perf_counter() - start)


def _measure_ap(configured: list[Configured], labelled: EvaluationSet) -> None:
    """The first metric of the task, once for each file."""
    found: dict[Path, float] = {}
    for one in configured:
        path = one.configuration.weights
        if path not in found:
            backend = open_backend(path, RuntimeSettings(device="cpu"))
            metrics = labelled.measure(backend, backend.eval_nms, batch=1)
            found[path] = next(iter(metrics.summary.values()))
        one.ap = found[path]
