"""Plot of a training: losses and metrics by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detector.utils.plotting import new_figure, save_figure


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
