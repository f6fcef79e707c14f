"""Heads: raw maps out of ``forward``, boxes and scores out of ``decode``."""

from detector.heads import yolo

__all__ = ["yolo"]
