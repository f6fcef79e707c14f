"""Options of an exported file, and the type of the functions that write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from detector.settings.nms import NmsSettings
from detector.settings.values import PrecisionName

DEFAULT_OPSET = 18

Save = Callable[[Path, Mapping[str, str]], None]
"""Function that writes a converted network with these properties (texts by key) and seals the file.

It may be called again with other properties.
"""


@dataclass(frozen=True)
class Options:
    """Options of an exported file.

    Attributes:
        dynamic: accept any number of images and any size that the strides divide; otherwise
            ``batch`` images of one size.
        opset: ONNX operator set; OpenVINO files are converted from ONNX.
        precision: precision of the weights in the file; the arithmetic stays in fp32.
        nms: settings of the NMS inside the file; None for a file without NMS.
        batch: images per call of a file that is not dynamic.
        decoded: decode all boxes and scores in the file, for programs that do not decode; files
            with NMS always do.
    """

    dynamic: bool = False
    opset: int = DEFAULT_OPSET
    precision: PrecisionName = "fp32"
    nms: NmsSettings | None = None
    batch: int = 1
    decoded: bool = False

    @property
    def fixed_batch(self) -> int | None:
        """Images per call of the file, None for any number."""
        return None if self.dynamic else self.batch
