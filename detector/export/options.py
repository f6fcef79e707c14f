"""What may be chosen about an exported file, and the way a format writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from detector.settings import NmsSettings, PrecisionName

DEFAULT_OPSET = 18

Save = Callable[[Path, Mapping[str, str]], None]
"""Writes a converted network with these metadata, sealed; may be called again with others."""


@dataclass(frozen=True)
class Options:
    """How the file is to be.

    Attributes:
        dynamic: any number of images and any size that the strides divide; else one image.
        opset: ONNX operator set; OpenVINO's files are converted from it.
        precision: of the weights in the file; the arithmetic stays in fp32.
        nms: suppression inside the file.
    """

    dynamic: bool = False
    opset: int = DEFAULT_OPSET
    precision: PrecisionName = "fp32"
    nms: NmsSettings | None = None
