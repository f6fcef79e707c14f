"""Heads: ``forward`` returns raw outputs, ``decode`` turns them into boxes and scores."""

from detector.heads import classify, distribution, head, implicit, ssd, yolo, yolox

__all__ = ["classify", "distribution", "head", "implicit", "ssd", "yolo", "yolox"]
