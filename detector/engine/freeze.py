"""Frozen rows: neither their weights nor their batch norms' statistics change."""

from __future__ import annotations

from detector.errors import DetectorError
from detector.graph import Detector


def freeze(model: Detector, rows: int) -> None:
    """Exclude the parameters of the first rows from training.

    Raises:
        DetectorError: nothing would be left to train.
    """
    if rows >= len(model.rows):
        raise DetectorError(
            f"--freeze {rows}: expected at most {len(model.rows) - 1}, the network has "
            f"{len(model.rows)} rows and the last one is its head"
        )
    model.rows[:rows].requires_grad_(False)


def hold_frozen(model: Detector, rows: int) -> None:
    """Put the first rows into evaluation mode; call it after ``train()``."""
    model.rows[:rows].eval()
