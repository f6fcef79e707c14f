"""Costs of networks as trained and as deployed, as a table, numbers or a plot."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from detector.benchmarks.timing import forward, interleaved
from detector.model.cost import Cost, cost
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector
from detector.utils.plotting import new_figure, save_figure

COLUMNS = (
    *("network", "form", "params", "GMACs", "GFLOPs", "Winograd GMULs"),
    *("memory access M", "peak activations MB"),
)
MEASURED_COLUMNS = ("ms", "GFLOP/s")


@dataclass(frozen=True)
class Form:
    """Costs of one form of a network, as trained or as deployed.

    Attributes:
        cost: parameters, multiply-adds and memory.
        seconds: time of a forward pass with one image; None if not measured.
    """

    cost: Cost
    seconds: float | None = None

    @property
    def milliseconds(self) -> float | None:
        """Time of a forward pass with one image in milliseconds, or None."""
        return None if self.seconds is None else 1000 * self.seconds

    @property
    def flops_per_second(self) -> float | None:
        """Operations per second, or None; a multiply-add counts as two."""
        return None if self.seconds is None else 2 * self.cost.macs / self.seconds


@dataclass(frozen=True)
class NetworkCost:
    """Costs of both forms of a network, for one image."""

    name: str
    train: Form
    deployed: Form


def network_cost(
    name: str, model: Detector, size_hw: tuple[int, int], rounds: int | None
) -> NetworkCost:
    """Count the costs of both forms, and time them in turns if ``rounds`` is given.

    Args:
        name: name of the network in the table.
        model: the network as trained.
        size_hw: input size in pixels.
        rounds: number of timed runs of each form; None: none.
    """
    forms = {"train": model, "deployed": fuse_modules(model)}
    costs = {form: cost(network, size_hw) for form, network in forms.items()}
    if rounds is None:
        return NetworkCost(name, Form(costs["train"]), Form(costs["deployed"]))
    image = torch.rand(1, 3, *size_hw)
    runs = {form: forward(network.eval(), image) for form, network in forms.items()}
    seconds = interleaved(runs, rounds)
    train, deployed = (Form(costs[form], statistics.median(seconds[form])) for form in forms)
    return NetworkCost(name, train, deployed)


def metrics(network: NetworkCost) -> dict[str, Any]:
    """Return all costs as numbers for JSON; keys of the deployed form start with ``deploy_``."""
    train, deployed = network.train, network.deployed
    found: dict[str, Any] = {
        "size_hw": list(train.cost.size_hw),
        "train_params": train.cost.params,
        "deploy_params": deployed.cost.params,
    }
    for prefix, form in (("", train), ("deploy_", deployed)):
        found |= {
            f"{prefix}batch_norms": form.cost.batch_norms,
            f"{prefix}macs": form.cost.macs,
            f"{prefix}winograd_muls": form.cost.winograd_muls,
            f"{prefix}memory_access": form.cost.memory_access,
            f"{prefix}peak_activation_bytes": form.cost.peak_activation_bytes,
        }
        if form.seconds is not None:
            found[f"{prefix}ms"] = form.milliseconds
            found[f"{prefix}flops_per_second"] = form.flops_per_second
    return found


def table(networks: Sequence[NetworkCost]) -> str:
    """Return a table of the costs, two lines per network."""
    measured = networks[0].train.seconds is not None
    columns = COLUMNS + MEASURED_COLUMNS if measured else COLUMNS
    lines = []
    for network in networks:
        height, width = network.train.cost.size_hw
        size = f"{height} px" if height == width else f"{height}×{width} px"
        lines.append([f"{network.name} at {size}", "train", *_cells(network.train)])
        lines.append(["", "deployed", *_cells(network.deployed)])
    alignment = ("left", "left", *["right"] * (len(columns) - 2))
    return tabulate(lines, columns, disable_numparse=True, colalign=alignment)


def plot(networks: Sequence[NetworkCost], path: Path) -> None:
    """Plot parameters, multiply-adds, memory access and peak activations to a PNG file."""
    picture = new_figure(10, 2.5 + 0.8 * len(networks))
    quantities: tuple[tuple[str, Callable[[Cost], float]], ...] = (
        ("parameters, M", lambda cost: cost.params / 1e6),
        ("multiply-adds, G", lambda cost: cost.macs / 1e9),
        ("memory access, M elements", lambda cost: cost.memory_access / 1e6),
        ("peak activations, MB", lambda cost: cost.peak_activation_bytes / 1e6),
    )
    panels = picture.subplots(2, 2, sharey=True).flat
    for axes, (title, quantity) in zip(panels, quantities, strict=True):
        for form, shift in (("train", -0.2), ("deployed", 0.2)):
            bars = axes.barh(
                [i + shift for i in range(len(networks))],
                [quantity(getattr(network, form).cost) for network in networks],
                height=0.4,
                label=form,
            )
            axes.bar_label(bars, fmt="%.3g", padding=2)
        axes.set(title=title, yticks=range(len(networks)))
        axes.margins(x=0.12)  # room for the numbers beside the bars
        axes.set_yticklabels([network.name for network in networks])
        axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()  # all panels share this axis; the first network comes on top
    axes.legend()
    save_figure(picture, path)


def _cells(form: Form) -> list[str]:
    giga = form.cost.macs / 1e9
    cells = [
        f"{form.cost.params:,}",
        f"{giga:.3f}",
        f"{2 * giga:.3f}",
        f"{form.cost.winograd_muls / 1e9:.3f}",
        f"{form.cost.memory_access / 1e6:.3f}",
        f"{form.cost.peak_activation_bytes / 1e6:.3f}",
    ]
    if form.milliseconds is not None and form.flops_per_second is not None:
        cells += [f"{form.milliseconds:.1f}", f"{form.flops_per_second / 1e9:.1f}"]
    return cells
