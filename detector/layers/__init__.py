"""Blocks, one architecture a file; importing the package registers them for model files."""

from detector.layers import (
    aliases,
    conv,
    cross,
    csp,
    depthwise,
    ghost,
    osa,
    pixels,
    plain,
    repvgg,
    se,
    spp,
    transformer,
    vgg,
    yolov7,
)

__all__ = [
    "aliases",
    "conv",
    "cross",
    "csp",
    "depthwise",
    "ghost",
    "osa",
    "pixels",
    "plain",
    "repvgg",
    "se",
    "spp",
    "transformer",
    "vgg",
    "yolov7",
]
