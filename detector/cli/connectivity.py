"""Weights of concatenated features by source, as a table, numbers or a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from detector.model.connectivity import Aggregation
from detector.utils.plotting import new_figure, save_figure

COLUMNS = ("convolution", "sources", "weights by source, of the largest")
INCHES_PER_COLUMN, INCHES_PER_SOURCE = 0.25, 0.3


def table(found: Sequence[Aggregation]) -> str:
    """Return a table, one line per convolution."""
    rows = [
        [one.path, len(one.widths), " ".join(f"{weight:.2f}" for weight in one.normalized)]
        for one in found
    ]
    return tabulate(rows, COLUMNS, disable_numparse=True, colalign=("left", "right", "left"))


def metrics(found: Sequence[Aggregation]) -> list[dict[str, Any]]:
    """Return paths, widths and mean absolute weights for JSON."""
    return [
        {
            "convolution": one.path,
            "widths": list(one.widths),
            "weights": list(one.weights),
            "normalized": list(one.normalized),
        }
        for one in found
    ]


def plot(found: Sequence[Aggregation], path: Path) -> None:
    """Draw a column per convolution and a line per source; absent sources stay white."""
    depth = max(len(one.widths) for one in found)
    columns = [[*one.normalized, *[math.nan] * (depth - len(one.widths))] for one in found]
    picture = new_figure(2.5 + INCHES_PER_COLUMN * len(found), 2 + INCHES_PER_SOURCE * depth)
    axes = picture.subplots()
    image = axes.imshow(list(zip(*columns, strict=True)), vmin=0, vmax=1, aspect="auto")
    names = [one.path.removeprefix("rows.") for one in found]
    axes.set(
        title="mean absolute weight of each source, of the largest",
        xlabel="convolution",
        ylabel="source",
        yticks=range(depth),
        xticks=range(len(found)),
    )
    axes.set_xticklabels(names, rotation=90, fontsize=7)
    picture.colorbar(image, ax=axes)
    save_figure(picture, path)
