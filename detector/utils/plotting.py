"""Plots for files, without pyplot, which would keep them in memory and may look for a screen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from detector.utils.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120

CONFIGURATION = "MPLCONFIGDIR"
"""Environment variable for matplotlib's folder; one that the user has set is used."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty plot of a width and height in inches."""
    with _configured_elsewhere():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a plot to a PNG file atomically."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)


@contextmanager
def _configured_elsewhere() -> Iterator[None]:
    """Give matplotlib a temporary folder for the list of fonts that its import writes.

    Otherwise it would create folders in the home folder.
    """
    if CONFIGURATION in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CONFIGURATION] = folder
        try:
            yield
        finally:
            del os.environ[CONFIGURATION]
