"""Heads: raw outputs out of ``forward``, boxes and scores out of ``decode``."""

from detector.heads import classify, head, implicit, ssd, yolo

__all__ = ["classify", "head", "implicit", "ssd", "yolo"]
