"""Results of ``benchmark detect`` as a table, a comparison, JSON and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from detector.benchmarks.detect_worker import Configuration
from detector.benchmarks.operators import OperatorShares
from detector.benchmarks.settings import Runner
from detector.benchmarks.timing import spread
from detector.runtime.pipeline import Phase
from detector.settings.values import PrecisionName
from detector.utils.plotting import new_figure, save_figure

LABELS: dict[Runner, str] = {
    "pytorch": "PyTorch, as trained",
    "fused": "PyTorch, fused",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "pt2": "torch.export",
}
PHASES: tuple[Phase, ...] = ("decode", "preprocess", "network", "nms")


@dataclass(frozen=True)
class TimedRun:
    """Times and memory of one run over all images.

    Attributes:
        images: number of images.
        seconds: time by phase, summed over all images; phases overlap.
        wall_seconds: elapsed time of the run.
        peak_bytes: peak memory of the process so far.
    """

    images: int
    seconds: dict[Phase, float]
    wall_seconds: float
    peak_bytes: int


@dataclass
class MeasuredConfiguration:
    """A configuration and its measurements.

    Attributes:
        runner: runtime of the network.
        precision: precision of the arithmetic, or of a file that was exported before.
        name: name of a file that was exported before, else empty.
        threads: total number of compute threads.
        configuration: settings of its process.
        flops: operations of the network per image.
        runs: one per round.
        start_seconds: time from the start of the process to the first image's boxes.
        ap: AP, or a classifier's accuracy; None if no data were given.
        shares: shares of operators; None if they were not asked for, or are not counted.
    """

    runner: Runner
    threads: int
    configuration: Configuration
    flops: int
    precision: PrecisionName = "fp32"
    name: str = ""
    runs: list[TimedRun] = field(default_factory=list)
    start_seconds: float = 0.0
    ap: float | None = None
    shares: OperatorShares | None = None

    @property
    def label(self) -> str:
        """Name in the table and the plot."""
        mode = ", throughput" if self.parallel > 1 else ""
        precision = "" if self.precision == "fp32" else f" {self.precision}"
        form = f"{self.name or LABELS[self.runner]}{precision}"
        return f"{form}, batch {self.configuration.batch}, {self.threads} thr.{mode}"

    @property
    def parallel(self) -> int:
        """Number of batches that the network processes at the same time."""
        return self.threads if self.configuration.mode == "throughput" else 1

    @property
    def file_bytes(self) -> int:
        """Size of the file, including its ``.bin`` if there is one."""
        path = self.configuration.weights
        return sum(
            part.stat().st_size for part in (path, path.with_suffix(".bin")) if part.exists()
        )

    def ms(self, phase: Phase) -> float:
        """Return the median milliseconds per image in a phase."""
        return statistics.median(1000 * run.seconds[phase] / run.images for run in self.runs)

    def wall_ms(self) -> tuple[float, float, float]:
        """Return the elapsed milliseconds per image: median, minimum, maximum."""
        return spread([1000 * run.wall_seconds / run.images for run in self.runs])

    def images_per_second(self) -> tuple[float, float, float]:
        """Return images per second: median, minimum, maximum."""
        return spread([run.images / run.wall_seconds for run in self.runs])

    def network_share(self) -> float:
        """Return the fraction of the elapsed time in which the network runs."""
        return self.ms("network") / self.parallel / self.wall_ms()[0]

    def flops_per_second(self) -> float:
        """Return the operations per second while the network runs."""
        return self.flops / (self.ms("network") / self.parallel / 1000)


def format_report(measured: Sequence[MeasuredConfiguration], peaks: Mapping[int, float]) -> str:
    """Return the table of all configurations, the machine's peaks and a comparison, as text.

    Args:
        measured: configurations with their measurements.
        peaks: operations per second of a matrix product by number of threads.
    """
    head = ["", *PHASES, "all", "± spread", "images/s", "network", "of peak", "MB", "file", "start"]
    rows = [
        [
            one.label,
            *(one.ms(phase) for phase in PHASES),
            one.wall_ms()[0],
            f"{one.wall_ms()[1]:.1f}–{one.wall_ms()[2]:.1f}",
            one.images_per_second()[0],
            f"{one.network_share():.0%}",
            f"{one.flops_per_second() / peaks[one.threads]:.0%}",
            max(run.peak_bytes for run in one.runs) / 1e6,
            one.file_bytes / 1e6,
            one.start_seconds,
            *([f"{one.ap:.4f}"] if one.ap is not None else []),
        ]
        for one in measured
    ]
    if measured[0].ap is not None:
        head.append("AP")
    images, rounds = measured[0].runs[0].images, len(measured[0].runs)
    form = ["", *[".1f"] * 5, "", ".1f", "", "", ".0f", ".1f", ".2f", ""]
    products = ", ".join(f"{peak / 1e9:.0f} GFLOP/s on {n} threads" for n, peak in peaks.items())
    return "\n".join(
        [
            f"\n{images} images from disk to boxes, ms an image, medians of {rounds} runs in turns",
            tabulate(rows, head, floatfmt=form[: len(head)]),
            f"matrix product: {products}",
            *(line for one in measured if one.shares for line in (one.label, *one.shares.lines())),
            *_comparison(measured),
        ]
    )


def _comparison(measured: Sequence[MeasuredConfiguration]) -> list[str]:
    """Compare the fastest exported file with the fastest PyTorch as trained, by threads."""
    lines = []
    for threads in dict.fromkeys(one.threads for one in measured):
        own = [one for one in measured if one.threads == threads]
        eager = [one for one in own if one.runner == "pytorch"]
        exported = [one for one in own if one.runner not in ("pytorch", "fused")]
        if eager and exported:
            best, base = (
                min(group, key=lambda one: one.wall_ms()[0]) for group in (exported, eager)
            )
            ratio = best.wall_ms()[0] / base.wall_ms()[0]
            lines.append(f"{best.label}: {ratio:.2f} × the time of {base.label}")
    return lines


def to_dict(
    measured: Sequence[MeasuredConfiguration], peaks: Mapping[int, float]
) -> dict[str, Any]:
    """Return all measurements, including single runs, as values that JSON supports."""
    return {
        "matrix_product_flops": {str(threads): peak for threads, peak in peaks.items()},
        "configurations": [
            {
                "format": one.runner,
                "file": one.name,
                "precision": one.precision,
                "operators": asdict(one.shares) if one.shares else None,
                "batch": one.configuration.batch,
                "threads": one.threads,
                "mode": one.configuration.mode,
                "ms_per_image": {phase: one.ms(phase) for phase in PHASES},
                "wall_ms_per_image": dict(
                    zip(("median", "least", "most"), one.wall_ms(), strict=True)
                ),
                "images_per_second": one.images_per_second()[0],
                "network_share": one.network_share(),
                "peak_share": one.flops_per_second() / peaks[one.threads],
                "peak_bytes": max(run.peak_bytes for run in one.runs),
                "file_bytes": one.file_bytes,
                "start_seconds": one.start_seconds,
                "ap": one.ap,
                "runs": [asdict(run) for run in one.runs],
            }
            for one in measured
        ],
        "comparison": _comparison(measured),
    }


def plot(measured: Sequence[MeasuredConfiguration], path: Path) -> None:
    """Plot images per second to a PNG file: medians as bars, minimum and maximum as whiskers."""
    picture = new_figure(9, 1 + 0.35 * len(measured))
    axes = picture.subplots()
    rates = [one.images_per_second() for one in measured]
    colours = {runner: f"C{number}" for number, runner in enumerate(LABELS)}
    axes.barh(
        [one.label for one in measured],
        [median for median, _, _ in rates],
        xerr=[
            [median - least for median, least, _ in rates],
            [most - median for median, _, most in rates],
        ],
        color=[colours[one.runner] for one in measured],
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set(xlabel="images per second, from disk to boxes")
    axes.grid(axis="x", alpha=0.3)
    save_figure(picture, path)
