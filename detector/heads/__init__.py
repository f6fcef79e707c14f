"""Heads: raw maps out of ``forward``, boxes and scores out of ``decode``."""

from detector.heads import ssd, yolo

__all__ = ["ssd", "yolo"]
