"""Test-time augmentation: an image goes through the network several times, in views that differ.

A view is the whole image at a scale of the network's input, as it is or flipped left to right. The
boxes of all views, in pixels of the image, are candidates of one NMS (:mod:`.tiling` merges them);
``--nms-method fusion`` takes means of them instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings.common import TileSettings, ViewSettings
from detector.structures.preprocess import MAX_SIDE, Preprocess, nearest_size
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class View:
    """One way of showing an image to the network.

    Attributes:
        preprocess: fits the image to the input of its scale.
        flipped: the image is flipped left to right.
    """

    preprocess: Preprocess
    flipped: bool = False


def views_of(settings: TileSettings, backend: Backend) -> tuple[View, ...]:
    """Return the views of each image; none without test-time augmentation.

    Raises:
        DetectorError: the network cannot run on them, or two are the same.
    """
    if not isinstance(settings, ViewSettings) or not settings.tta:
        return ()
    _check(settings, backend)
    flips = (False, True) if settings.tta_flip else (False,)
    sizes: dict[tuple[int, int], float] = {}
    for scale in settings.tta_scales:
        size_hw = _size(backend, scale)
        if size_hw in sizes:
            raise DetectorError(
                f"tta_scales {sizes[size_hw]:g} and {scale:g} are one size of the input, "
                f"{'×'.join(map(str, size_hw))}; sizes are multiples of {backend.stride}"
            )
        sizes[size_hw] = scale
    fits = [backend.preprocess.with_size(size_hw) for size_hw in sizes]
    return tuple(View(fit, flipped) for fit in fits for flipped in flips)


def _check(settings: ViewSettings, backend: Backend) -> None:
    if backend.task == "classify":
        raise DetectorError("a classifier has no boxes, found tta")
    if settings.tiles is not None:
        raise DetectorError("tta does not go with tiles")
    if isinstance(backend, ExportedBackend) and backend.metadata.nms is not None:
        raise backend.error(
            "holds its NMS, which would drop boxes before those of all views are known, found "
            "tta; export it without --nms"
        )


def _size(backend: Backend, scale: float) -> tuple[int, int]:
    """Return height and width of the input at a scale, pixels: multiples of the stride."""
    own = height, width = backend.preprocess.size_hw
    if scale == 1:
        return own
    size_hw = nearest_size((round(height * scale), round(width * scale)), backend.stride)
    if not backend.dynamic_size:
        message = f"takes inputs of {height}×{width} only, found tta_scales {scale:g}"
        if isinstance(backend, ExportedBackend):
            raise backend.error(f"{message}; export with --dynamic")
        raise DetectorError(f"the network {message}")
    if max(size_hw) > MAX_SIDE:
        raise DetectorError(
            f"tta_scales {scale:g}: inputs of {'×'.join(map(str, size_hw))} px, at most {MAX_SIDE} "
            "are possible"
        )
    return size_hw


def flipped_boxes(boxes_xyxy: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return (n, 4) boxes of an image flipped left to right, which is ``width`` pixels wide.

    >>> flipped_boxes(np.float32([[10, 0, 30, 5]]), 100).tolist()
    [[70.0, 0.0, 90.0, 5.0]]
    """
    x1, y1, x2, y2 = boxes_xyxy.T
    return np.stack([width - x2, y1, width - x1, y2], 1)
