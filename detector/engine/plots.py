"""Plots of a training: losses and metrics by epoch, precision-recall curves, confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.utils.plotting import new_figure, save_figure

MAX_NAMED_CLASSES = 20
"""Largest number of classes whose names and counts are written into a plot."""


def plot_results(
    history: Sequence[Mapping[str, float]], metrics: Sequence[str], path: Path
) -> None:
    """Plot losses (left) and validation metrics (right) over the epochs into a PNG file.

    Args:
        history: one record an epoch.
        metrics: names of the metrics in the records of validated epochs.
        path: the file.
    """
    picture = new_figure(10, 4)
    left, right = picture.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    for name in [key for key in history[0] if key.startswith("loss")]:
        left.plot(epochs, [record[name] for record in history], label=name.removeprefix("loss_"))
    measured = [record for record in history if metrics[0] in record]
    for name in metrics:
        right.plot(
            [record["epoch"] for record in measured],
            [record[name] for record in measured],
            marker="." if len(measured) < 30 else None,
            label=name,
        )
    for axes, title in (
        (left, "training losses"),
        (right, f"{', '.join(metrics)} on the validation split"),
    ):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1)
    save_figure(picture, path)


def plot_curves(curves: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    """Plot precision over recall at IoU 0.5, one line per class, into a PNG file.

    Args:
        curves: name of the class → (101,) precision at recalls 0, 0.01, … 1.
        path: the file.
    """
    picture = new_figure(7, 5)
    axes = picture.subplots()
    for name, curve in curves.items():
        axes.plot(np.linspace(0, 1, len(curve)), curve, label=f"{name} {curve.mean():.3f}")
    axes.set(
        title="precision by recall, IoU 0.5",
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    axes.grid(alpha=0.3)
    if 0 < len(curves) <= MAX_NAMED_CLASSES:
        axes.legend(title="class, AP50")
    save_figure(picture, path)


def plot_confusion(names: Sequence[str], counts: NDArray[np.int64], path: Path) -> None:
    """Plot the confusion matrix into a PNG file; colors are fractions of the row.

    Args:
        names: of the k classes.
        counts: (k + 1, k + 1), a row for each true class, then nothing; a column for each class
            found, then missed.
        path: the file.
    """
    side = min(max(4 + 0.5 * len(names), 5), 20)
    picture = new_figure(side, side)
    axes = picture.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names) + 1)
    axes.set(title="boxes by place, IoU 0.5, score 0.25", xlabel="found", ylabel="true")
    axes.set_xticks(ticks, [*names, "missed"], rotation=90)
    axes.set_yticks(ticks, [*names, "nothing"])
    for (row, column), count in np.ndenumerate(counts):
        if count and len(names) <= MAX_NAMED_CLASSES:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    save_figure(picture, path)
