"""Preprocessing: from an image to the network's input, and from its boxes back to the image.

The specification is stored with every model and every exported file. Validation, prediction and
exports use only this module, so the same image gives the same boxes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from detector.utils.errors import DetectorError
from detector.utils.opencv import Image, check_image, cv2
from detector.utils.yaml_file import Strict

MAX_SIDE = 8192
Side = Annotated[int, pydantic.Field(ge=8, le=MAX_SIDE)]
Level = Annotated[int, pydantic.Field(ge=0, le=255)]
Scale = Annotated[float, pydantic.Field(gt=0)]
CropFraction = Annotated[float, pydantic.Field(gt=0, le=1)]


def size_of_imgsz(imgsz: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an input, pixels, from ``imgsz``: one side, or height and width.

    >>> size_of_imgsz(640), size_of_imgsz((384, 640))
    ((640, 640), (384, 640))
    """
    return imgsz if isinstance(imgsz, tuple) else (imgsz, imgsz)


def imgsz_of_size(size_hw: tuple[int, int]) -> int | tuple[int, int]:
    """Return ``imgsz`` of an input size: one side of a square input, else height and width.

    >>> imgsz_of_size((640, 640)), imgsz_of_size((384, 640))
    (640, (384, 640))
    """
    height, width = size_hw
    return height if height == width else (height, width)


def imgsz_text(size_hw: tuple[int, int]) -> str:
    """Return an input size as ``--imgsz`` takes it.

    >>> imgsz_text((640, 640)), imgsz_text((384, 640))
    ('640', '384,640')
    """
    height, width = size_hw
    return str(height) if height == width else f"{height},{width}"


def nearest_size(size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return the nearest height and width that a network's largest stride divides, pixels."""
    height, width = (max(round(side / stride), 1) * stride for side in size_hw)
    return height, width


def divisible_size(imgsz: int | tuple[int, int], stride: int) -> tuple[int, int]:
    """Return height and width of an input, pixels, after checking that the stride divides them.

    Raises:
        DetectorError: a side is no multiple of the network's largest stride; names the nearest.
    """
    size_hw = size_of_imgsz(imgsz)
    nearest = nearest_size(size_hw, stride)
    if any(side % stride for side in size_hw):
        raise DetectorError(
            f"imgsz {imgsz_text(size_hw)} is not a multiple of the network's stride {stride}; "
            f"the nearest is {imgsz_text(nearest)}"
        )
    return size_hw


@dataclass(frozen=True)
class Placement:
    """The mapping from image to input coordinates: input = image · scale + offset, pixels."""

    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]
    image_size_hw: tuple[int, int]

    def to_input(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert (n, 4) boxes from image to input coordinates, pixels."""
        return (boxes_xyxy * self._scale + self._offset).astype(np.float32)

    def to_image(self, boxes_xyxy: NDArray[np.float32], clip: bool = True) -> NDArray[np.float32]:
        """Convert (n, 4) boxes from input to image coordinates, pixels, clipped to the image."""
        height, width = self.image_size_hw
        boxes = (boxes_xyxy - self._offset) / self._scale
        limits = np.array([width, height, width, height], np.float64)
        return (np.clip(boxes, 0, limits) if clip else boxes).astype(np.float32)

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.array(self.scale_xy * 2, np.float64)

    @property
    def _offset(self) -> NDArray[np.float64]:
        return np.array(self.offset_xy * 2, np.float64)


class PreprocessKeys(Strict):
    """The keys of the specification that a model file gives; see :class:`Preprocess`."""

    mode: Literal["letterbox", "stretch", "crop"] = "letterbox"
    crop_fraction: CropFraction = 0.875
    pad_value: Level = 114
    padding: Literal["around", "right_bottom"] = "around"
    rounding: Literal["nearest", "down"] = "nearest"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale_rgb: tuple[Scale, Scale, Scale] = (255.0, 255.0, 255.0)


class Preprocess(PreprocessKeys):
    """The preprocessing specification: fit to ``size_hw``, then (pixel − mean) / scale.

    ``letterbox`` keeps the aspect ratio and pads with ``pad_value``: evenly (``around``), or only
    after the image (``right_bottom``); its sides are rounded to the nearest number of pixels, or
    down, as the weights were trained. ``stretch`` does not keep the ratio. ``crop`` keeps it and
    takes a center crop of ``crop_fraction`` of the shorter side: 0.875 is 224 of 256 pixels, the
    usual evaluation on ImageNet. ``channel_order`` is that of the network's input; mean and scale
    are given in RGB in either case.

    ``rectangle`` is the network's stride, or None. If given, a letterboxed image is padded only to
    the next multiple of it in each direction, not to the full ``size_hw``.
    """

    size_hw: tuple[Side, Side]
    rectangle: Annotated[int, pydantic.Field(ge=1, le=MAX_SIDE)] | None = None

    @pydantic.model_validator(mode="after")
    def _rectangle_within_input(self) -> Preprocess:
        """Reject a stride larger than the input: padding to it would have no limit."""
        if self.rectangle is not None and self.rectangle > max(self.size_hw):
            height, width = self.size_hw
            raise ValueError(
                f"rectangle {self.rectangle} is larger than the input, {height}×{width}"
            )
        return self

    def with_size(self, size_hw: tuple[int, int]) -> Preprocess:
        """Return the same specification for another input size."""
        return Preprocess(**{**self.model_dump(), "size_hw": size_hw})

    def with_rectangle(self, stride: int) -> Preprocess:
        """Return the same specification, but padding only to the next multiple of a stride.

        Raises:
            DetectorError: the mode is not letterbox.
        """
        if self.mode != "letterbox":
            raise DetectorError(
                f"letterbox rectangle: the model preprocesses by {self.mode!r}, to one size"
            )
        return Preprocess(**{**self.model_dump(), "rectangle": stride})

    def input_size(self, image_size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the input for an image, pixels.

        >>> Preprocess(size_hw=(640, 640), rectangle=32).input_size((480, 600))
        (512, 640)
        """
        if self.rectangle is None:
            return self.size_hw
        height, width = (
            math.ceil(side / self.rectangle) * self.rectangle
            for side in self._letterboxed(image_size_hw)
        )
        return height, width

    def fit(self, image_rgb: Image) -> tuple[Image, Placement]:
        """Fit an (h, w, 3) image to its (H, W, 3) input; the argument is not changed.

        Raises:
            DetectorError: not an image; see :func:`detector.utils.opencv.check_image`.
        """
        check_image(image_rgb)
        height, width = image_rgb.shape[:2]
        target_h, target_w = self.input_size((height, width))
        if self.mode == "crop":
            return self._center_crop(image_rgb)
        if self.mode == "stretch":
            new_h, new_w = target_h, target_w
        else:
            new_h, new_w = self._letterboxed((height, width))
        if (new_h, new_w) != (height, width):
            resized = cv2.resize(image_rgb, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
            image_rgb = np.asarray(resized, np.uint8)
        top, left = 0, 0
        if self.padding == "around":
            top, left = (target_h - new_h) // 2, (target_w - new_w) // 2
        canvas = np.full((target_h, target_w, 3), self.pad_value, np.uint8)
        canvas[top : top + new_h, left : left + new_w] = image_rgb
        placement = Placement((new_w / width, new_h / height), (left, top), (height, width))
        return canvas, placement

    def _center_crop(self, image_rgb: Image) -> tuple[Image, Placement]:
        """Crop the center, then resize it: the other order would enlarge all of a long image."""
        height, width = image_rgb.shape[:2]
        target_h, target_w = self.size_hw
        ratio = self.crop_fraction * min(height / target_h, width / target_w)
        part_h, part_w = max(round(target_h * ratio), 1), max(round(target_w * ratio), 1)
        top, left = (height - part_h) // 2, (width - part_w) // 2
        part = image_rgb[top : top + part_h, left : left + part_w]
        canvas = cv2.resize(part, (target_w, target_h), interpolation=cv2.INTER_LINEAR)
        scale_x, scale_y = target_w / part_w, target_h / part_h
        offset_xy = (-left * scale_x, -top * scale_y)
        return np.array(canvas, np.uint8), Placement((scale_x, scale_y), offset_xy, (height, width))

    def _letterboxed(self, image_size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the resized image, within ``size_hw``."""
        height, width = image_size_hw
        ratio = min(self.size_hw[0] / height, self.size_hw[1] / width)
        whole = round if self.rounding == "nearest" else math.floor
        return max(whole(height * ratio), 1), max(whole(width * ratio), 1)

    def normalize(
        self, images: Sequence[Image] | NDArray[np.uint8], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Normalize (b, H, W, 3) uint8 images to (b, 3, H, W) float32 network input, contiguous.

        Args:
            images: RGB images of one size.
            out: (b, 3, H, W) array for the result; None allocates one.
        """
        if out is None:
            out = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
        mean_rgb, scale_rgb = (np.array(rgb, np.float32) for rgb in (self.mean_rgb, self.scale_rgb))
        for image, planes in zip(images, out, strict=True):
            planes_rgb = planes if self.channel_order == "rgb" else planes[::-1]
            # Plane by plane, since numpy is slow on interleaved channels.
            for plane, pixels, mean, scale in zip(
                planes_rgb, cv2.split(image), mean_rgb, scale_rgb, strict=True
            ):
                centred = np.subtract(pixels, mean, out=plane) if mean else pixels
                np.divide(centred, scale, out=plane)
        return out
