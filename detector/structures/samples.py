"""Values of training: annotated images, batches, and their targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.structures.tiles import Window, cut_out
from detector.utils.opencv import Image, read_image


def _unset_bool() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


def _unset_float() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Sample:
    """One annotated image on disk.

    Attributes:
        path: the image file.
        boxes_xyxy: (n, 4) float32, pixels of the image with its EXIF orientation applied.
        class_ids: (n,) int64, indices into the data set's class names.
        size_hw: height and width of the oriented image, pixels.
        image_id: id from the annotation file, else a running number.
        crowd: (n,) bool; crowd regions are used in COCO evaluation and left out of training.
        difficult: (n,) bool; Pascal VOC's ``difficult``.
        areas: (n,) float32, pixels²; the area of the box unless the annotation file states one.
        window_xyxy: the part of the file's image that is the sample's image, a tile; None for all.
    """

    path: Path
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    size_hw: tuple[int, int]
    image_id: int
    crowd: NDArray[np.bool_] = field(default_factory=_unset_bool)
    difficult: NDArray[np.bool_] = field(default_factory=_unset_bool)
    areas: NDArray[np.float32] = field(default_factory=_unset_float)
    window_xyxy: Window | None = None

    def read_image(self) -> Image:
        """Decode the image, (h, w, 3) uint8 RGB.

        Raises:
            DetectorError: the file cannot be read; see :func:`detector.utils.opencv.read_image`.
        """
        return cut_out(read_image(self.path), self.window_xyxy)

    def __post_init__(self) -> None:
        n = len(self.class_ids)
        if self.boxes_xyxy.shape != (n, 4):
            raise ValueError(f"expected boxes of shape ({n}, 4), found {self.boxes_xyxy.shape}")
        if n and np.any(self.boxes_xyxy[:, 2:] <= self.boxes_xyxy[:, :2]):
            raise ValueError(f"{self.path}: a box with zero or negative size")
        sizes = self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]
        defaults = {
            "crowd": np.zeros(n, np.bool_),
            "difficult": np.zeros(n, np.bool_),
            "areas": sizes[:, 0] * sizes[:, 1],
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            if len(value) != n:
                if len(value):
                    raise ValueError(f"expected {n} values of {name}, found {len(value)}")
                object.__setattr__(self, name, default)


@dataclass(frozen=True)
class Targets:
    """Boxes and classes of a batch, which its predictions are trained to match.

    Attributes:
        boxes_xyxy: (m, 4) float32, pixels of the network's input.
        class_ids: (m,) int64.
        image_index: (m,) int64, index in the batch of the image that each box belongs to.
    """

    boxes_xyxy: Tensor
    class_ids: Tensor
    image_index: Tensor

    def __post_init__(self) -> None:
        m = len(self.class_ids)
        if self.boxes_xyxy.shape != (m, 4) or self.image_index.shape != (m,):
            raise ValueError(
                "expected boxes (m, 4), class_ids (m,), image_index (m,); found "
                f"{tuple(self.boxes_xyxy.shape)}, {tuple(self.class_ids.shape)}, "
                f"{tuple(self.image_index.shape)}"
            )

    def __len__(self) -> int:
        return len(self.class_ids)

    def to(self, device: torch.device | str) -> Targets:
        """Return the same targets on another device."""
        return Targets(
            self.boxes_xyxy.to(device), self.class_ids.to(device), self.image_index.to(device)
        )


@dataclass(frozen=True)
class Batch:
    """Images of one size, (b, 3, h, w) uint8 RGB, and their targets."""

    images: Tensor
    targets: Targets

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[1] != 3 or self.images.dtype != torch.uint8:
            raise ValueError(
                f"expected (b, 3, h, w) uint8 images, found {tuple(self.images.shape)} "
                f"{self.images.dtype}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on another device."""
        return Batch(self.images.to(device, non_blocking=True), self.targets.to(device))
