"""Heads: ``forward`` returns raw outputs, ``decode`` turns them into boxes and scores."""

from detector.heads import auxiliary, classify, distribution, head, implicit, ssd, yolo, yolox

__all__ = ["auxiliary", "classify", "distribution", "head", "implicit", "ssd", "yolo", "yolox"]
