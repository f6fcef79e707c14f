"""Heads: ``forward`` returns raw outputs, ``decode`` turns them into boxes and scores."""

from detector.heads import classify, head, implicit, ssd, yolo

__all__ = ["classify", "head", "implicit", "ssd", "yolo"]
