"""A picture of a training: losses and figures by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detector.config import atomic


def plot_results(
    history: Sequence[Mapping[str, float]], figures: Sequence[str], path: Path
) -> None:
    """Draw losses (left) and validation figures (right) over the epochs into a PNG file.

    Args:
        history: one record an epoch.
        figures: names of the figures in the records of validated epochs.
        path: the file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(picture)
    left, right = picture.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    for name in [key for key in history[0] if key.startswith("loss")]:
        left.plot(epochs, [record[name] for record in history], label=name.removeprefix("loss_"))
    measured = [record for record in history if figures[0] in record]
    for name in figures:
        right.plot(
            [record["epoch"] for record in measured],
            [record[name] for record in measured],
            marker="." if len(measured) < 30 else None,
            label=name,
        )
    for axes, title in (
        (left, "training losses"),
        (right, f"{', '.join(figures)} on the validation split"),
    ):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1)
    with atomic(path) as temporary:
        picture.savefig(temporary, dpi=120)
