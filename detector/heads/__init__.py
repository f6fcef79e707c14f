"""Heads: raw maps out of ``forward``, boxes and scores out of ``decode``."""

from detector.heads import implicit, ssd, yolo

__all__ = ["implicit", "ssd", "yolo"]
