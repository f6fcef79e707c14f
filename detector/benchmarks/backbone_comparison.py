"""Measures of VoVNet's paper (arXiv 1904.09730, section 4) for several networks side by side."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from detector.benchmarks.settings import BackboneBenchmarkSettings
from detector.benchmarks.workers import worker
from detector.model.cost import Cost, cost
from detector.model.deploy import fuse_modules
from detector.model.detector import build
from detector.model.model_file import name_and_variant
from detector.utils.errors import DetectorError
from detector.utils.plotting import new_figure, save_figure

WORKER = "detector.benchmarks.backbone_worker"
IMAGE_SIDE = 224
COLUMNS = (
    *("network", "form", "batch", "params", "GMACs", "memory access M"),
    *("peak MB", "ms", "images/s", "GFLOP/s", "J/image"),
)
UNKNOWN = "–"


@dataclass(frozen=True)
class Line:
    """Measures of one form of a network at one batch size.

    Attributes:
        network: name of the network, as it was asked for.
        form: ``train`` or ``deployed``.
        batch: images per forward pass.
        params: learnable parameters.
        macs: multiply-adds of one image.
        memory_access: elements that convolutions read and write for one image.
        peak_bytes: growth of the process by forward passes, at its peak.
        seconds: median time of a forward pass.
        joules: median energy of a forward pass; None where the machine does not count it.
    """

    network: str
    form: str
    batch: int
    params: int
    macs: int
    memory_access: int
    peak_bytes: int
    seconds: float
    joules: float | None

    @property
    def images_per_second(self) -> float:
        """Images per second."""
        return self.batch / self.seconds

    @property
    def flops_per_second(self) -> float:
        """Operations per second; a multiply-add counts as two."""
        return 2 * self.macs * self.images_per_second

    @property
    def joules_per_image(self) -> float | None:
        """Energy of one image, or None."""
        return None if self.joules is None else self.joules / self.batch


def compare(settings: BackboneBenchmarkSettings) -> dict[str, Any]:
    """Measure each form of each network at each batch size in turns; print and return the measures.

    Raises:
        DetectorError: a network cannot be built, or the plot's name does not end in .png.
    """
    if settings.plot is not None and settings.plot.suffix != ".png":
        raise DetectorError(f"--plot: expected a name that ends in .png, found {settings.plot}")
    print(f"{settings.precision}, {settings.threads} threads, {settings.rounds} rounds")
    lines = []
    for batch in settings.batches:
        lines += _measured_at(batch, settings)
    print(table(lines))
    if settings.plot is not None:
        plot(lines, settings.plot)
    return {"lines": [_metrics(line) for line in lines]}


def _measured_at(batch: int, settings: BackboneBenchmarkSettings) -> list[Line]:
    """Return the measures of all networks at one batch size, taken in turns."""
    costs: dict[tuple[str, str], Cost] = {}
    answers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    side = settings.imgsz or IMAGE_SIDE
    with ExitStack() as stack:
        workers = {}
        for text in settings.compare:
            cfg, variant = name_and_variant(text)
            model = build(cfg, variant=variant)
            size_hw = model.size_of(side)
            forms = {"train": model, "deployed": fuse_modules(model)}
            for form, network in forms.items():
                costs[text, form] = cost(network, size_hw)
                asked = {
                    "cfg": cfg,
                    "variant": variant,
                    "deployed": form == "deployed",
                    "batch": batch,
                    "imgsz": side,
                    "threads": settings.threads,
                    "bf16": settings.precision == "bf16",
                }
                workers[text, form] = stack.enter_context(worker(WORKER, json.dumps(asked)))
        for _ in range(settings.rounds):
            for key, one in workers.items():
                answers.setdefault(key, []).append(one.ask())
    return [_line(*key, batch, costs[key], found) for key, found in answers.items()]


def _line(
    network: str, form: str, batch: int, counted: Cost, answers: Sequence[dict[str, Any]]
) -> Line:
    joules = [answer["joules"] for answer in answers]
    return Line(
        network=network,
        form=form,
        batch=batch,
        params=counted.params,
        macs=counted.macs,
        memory_access=counted.memory_access,
        peak_bytes=max(answer["peak_bytes"] for answer in answers),
        seconds=statistics.median(answer["seconds"] for answer in answers),
        joules=None if None in joules else statistics.median(joules),
    )


def _metrics(line: Line) -> dict[str, Any]:
    derived = ("images_per_second", "flops_per_second", "joules_per_image")
    return {**asdict(line), **{name: getattr(line, name) for name in derived}}


def table(lines: Sequence[Line]) -> str:
    """Return a table of the measures, a dash where energy is not counted."""
    rows = [
        [
            line.network,
            line.form,
            str(line.batch),
            f"{line.params:,}",
            f"{line.macs / 1e9:.3f}",
            f"{line.memory_access / 1e6:.1f}",
            f"{line.peak_bytes / 1e6:.0f}",
            f"{1000 * line.seconds:.1f}",
            f"{line.images_per_second:.1f}",
            f"{line.flops_per_second / 1e9:.1f}",
            UNKNOWN if line.joules_per_image is None else f"{line.joules_per_image:.2f}",
        ]
        for line in lines
    ]
    alignment = ("left", "left", *["right"] * (len(COLUMNS) - 2))
    return tabulate(rows, COLUMNS, disable_numparse=True, colalign=alignment)


def plot(lines: Sequence[Line], path: Path) -> None:
    """Draw the measures of the deployed networks by batch size, energy where it is counted."""
    deployed = [line for line in lines if line.form == "deployed"]
    panels = {
        "ms per image": [1000 / line.images_per_second for line in deployed],
        "GFLOP/s": [line.flops_per_second / 1e9 for line in deployed],
        "peak memory, MB": [line.peak_bytes / 1e6 for line in deployed],
        "memory access, M elements per image": [line.memory_access / 1e6 for line in deployed],
    }
    energy = [line.joules_per_image for line in deployed]
    if None not in energy:
        panels["J per image"] = [one for one in energy if one is not None]
    figure = new_figure(10, 2 + 0.35 * len(deployed) * ((len(panels) + 1) // 2))
    grid = figure.subplots((len(panels) + 1) // 2, 2, squeeze=False)
    names = [f"{line.network}, batch {line.batch}" for line in deployed]
    for axes, (title, values) in zip(grid.flat, panels.items(), strict=False):
        bars = axes.barh(names, values)
        axes.bar_label(bars, fmt="%.3g", padding=2)
        axes.set(title=title)
        axes.margins(x=0.15)  # room for the numbers beside the bars
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    save_figure(figure, path)
