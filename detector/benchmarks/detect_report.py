"""What ``benchmark detect`` measured: table, comparison, JSON and picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from detector.benchmarks.detect_worker import Configuration
from detector.benchmarks.settings import Runner
from detector.benchmarks.timing import spread
from detector.runtime.pipeline import Phase
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
class Run:
    """One run over all images."""

    images: int
    seconds: dict[Phase, float]
    wall_seconds: float
    peak_bytes: int


@dataclass
class Configured:
    """A configuration and what was measured of it.

    Attributes:
        runner: what runs the network.
        threads: compute threads in all.
        configuration: of its process.
        flops: operations that the network takes for an image.
        runs: in turns with the others'.
        start_seconds: from the start of the process to the first image's boxes.
        ap: or accuracy, where data were given.
    """

    runner: Runner
    threads: int
    configuration: Configuration
    flops: int
    runs: list[Run] = field(default_factory=list)
    start_seconds: float = 0.0
    ap: float | None = None

    @property
    def label(self) -> str:
        """What it is called in the table and the picture."""
        mode = ", throughput" if self.parallel > 1 else ""
        return f"{LABELS[self.runner]}, batch {self.configuration.batch}, {self.threads} thr.{mode}"

    @property
    def parallel(self) -> int:
        """Batches that the network works on at the same time."""
        return self.threads if self.configuration.mode == "throughput" else 1

    @property
    def file_bytes(self) -> int:
        """Of the file and, where there is one, its ``.bin``."""
        path = self.configuration.weights
        return sum(
            part.stat().st_size for part in (path, path.with_suffix(".bin")) if part.exists()
        )

    def ms(self, phase: Phase) -> float:
        """Median milliseconds that an image spends in a phase."""
        return statistics.median(1000 * run.seconds[phase] / run.images for run in self.runs)

    def wall_ms(self) -> tuple[float, float, float]:
        """Milliseconds from one image to the next: median, least, most."""
        return spread([1000 * run.wall_seconds / run.images for run in self.runs])

    def images_per_second(self) -> tuple[float, float, float]:
        """Median, least, most."""
        return spread([run.images / run.wall_seconds for run in self.runs])

    def network_share(self) -> float:
        """Of the whole time, the part in which the network runs."""
        return self.ms("network") / self.parallel / self.wall_ms()[0]

    def flops_per_second(self) -> float:
        """Operations per second while the network runs."""
        return self.flops / (self.ms("network") / self.parallel / 1000)


def printed(configured: Sequence[Configured], peaks: Mapping[int, float]) -> str:
    """The table and what follows from it."""
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
        for one in configured
    ]
    if configured[0].ap is not None:
        head.append("AP")
    images, rounds = configured[0].runs[0].images, len(configured[0].runs)
    form = ["", *[".1f"] * 5, "", ".1f", "", "", ".0f", ".1f", ".2f", ""]
    products = ", ".join(f"{peak / 1e9:.0f} GFLOP/s on {n} threads" for n, peak in peaks.items())
    return "\n".join(
        [
            f"\n{images} images from disk to boxes, ms an image, medians of {rounds} runs in turns",
            tabulate(rows, head, floatfmt=form[: len(head)]),
            f"matrix product: {products}",
            *_compared(configured),
        ]
    )


def _compared(configured: Sequence[Configured]) -> list[str]:
    """The fastest exported file beside the fastest PyTorch as trained, by threads."""
    lines = []
    for threads in dict.fromkeys(one.threads for one in configured):
        own = [one for one in configured if one.threads == threads]
        eager = [one for one in own if one.runner == "pytorch"]
        exported = [one for one in own if one.runner not in ("pytorch", "fused")]
        if eager and exported:
            best, base = (
                min(group, key=lambda one: one.wall_ms()[0]) for group in (exported, eager)
            )
            ratio = best.wall_ms()[0] / base.wall_ms()[0]
            lines.append(f"{best.label}: {ratio:.2f} × the time of {base.label}")
    return lines


def to_dict(configured: Sequence[Configured], peaks: Mapping[int, float]) -> dict[str, Any]:
    """Plain values, for JSON, every run among them."""
    return {
        "matrix_product_flops": {str(threads): peak for threads, peak in peaks.items()},
        "configurations": [
            {
                "format": one.runner,
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
            for one in configured
        ],
        "comparison": _compared(configured),
    }


def plot(configured: Sequence[Configured], path: Path) -> None:
    """Draw images per second into a PNG file: medians as bars, the spread as whiskers."""
    picture = new_figure(9, 1 + 0.35 * len(configured))
    axes = picture.subplots()
    rates = [one.images_per_second() for one in configured]
    colours = {runner: f"C{number}" for number, runner in enumerate(LABELS)}
    axes.barh(
        [one.label for one in configured],
        [median for median, _, _ in rates],
        xerr=[
            [median - least for median, least, _ in rates],
            [most - median for median, _, most in rates],
        ],
        color=[colours[one.runner] for one in configured],
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set(xlabel="images per second, from disk to boxes")
    axes.grid(axis="x", alpha=0.3)
    save_figure(picture, path)
