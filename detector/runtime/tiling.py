"""Tiles: a large image goes through the network in overlapping parts, whose boxes are merged.

The rule, for an image that is larger than a tile:

1. **Parts.** The windows of :func:`detector.structures.tiles.tile_windows` and, with
   ``tile_whole``, the whole image. Each gives the candidates of NMS, in pixels of the image.
2. **Sizes.** Of the whole image, only boxes count whose longer side exceeds the overlap of the
   tiles: a smaller object is whole in some tile, which shows it larger.
3. **Cut objects.** A box is cut if it ends at an inner border of its window, within ``BORDER`` of
   its own side. It is dropped if ``COVERED`` of its area lies in a larger box of its class from
   another window, whose score is at least ``SCORE`` of its own: the same object, seen better there.
   Intersection over the smaller area is the measure by which SAHI merges tiles (arXiv 2202.06934);
   here it applies to cut boxes only, so that small objects in front of large ones remain.
4. **NMS.** One for all candidates, with the settings of the run: ``candidates`` and
   ``max_detections`` count those of the whole image.

An image that is no larger than a tile is one part, and its result is the same as without tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.nms.nms import Candidates, best_first, select
from detector.runtime.sources import Frame
from detector.runtime.views import View, flipped_boxes
from detector.settings.common import TileSettings
from detector.settings.nms import NmsSettings
from detector.structures.boxes_numpy import area, intersection_and_union
from detector.structures.detections import Detections
from detector.structures.preprocess import Placement
from detector.structures.tiles import (
    Window,
    tile_windows,
    to_image,
    touches_inner_border,
    whole_window,
)
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image

BORDER = 0.1
"""Largest distance of a cut box from the border of its window, as a share of its own side."""

COVERED = 0.5
"""Least share of a cut box's area within a box of another window that replaces it."""

SCORE = 0.5
"""Least score of a box that replaces a cut one, as a share of the cut one's."""

MAX_PAIRS = 1 << 20
"""Largest number of pairs of boxes that are compared at a time."""


@dataclass(frozen=True)
class Part:
    """Part of a frame that is one image for the network.

    Attributes:
        frame: the frame.
        window_xyxy: the part, pixels of the frame.
        index: number of the part, from 0.
        count: number of parts of the frame; the only part is the whole frame.
        longer_than: of its boxes, those count whose longer side exceeds this, pixels of the frame.
        view: how test-time augmentation shows it; None without.
    """

    frame: Frame
    window_xyxy: Window
    index: int = 0
    count: int = 1
    longer_than: float = 0.0
    view: View | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the part, pixels of the frame."""
        x1, y1, x2, y2 = self.window_xyxy
        return y2 - y1, x2 - x1

    @property
    def image_rgb(self) -> Image:
        """Pixels of the part, (h, w, 3) uint8, not copied unless they are flipped."""
        x1, y1, x2, y2 = self.window_xyxy
        image: Image = self.frame.image_rgb[y1:y2, x1:x2]
        is_flipped = self.view is not None and self.view.flipped
        return np.ascontiguousarray(image[:, ::-1]) if is_flipped else image


def check_tiles(backend: Backend, tile: int) -> None:
    """Raise DetectorError unless a network can run on tiles of a side, pixels."""
    if backend.task == "classify":
        raise DetectorError("a classifier has no boxes, found tiles")
    check_tile(tile, backend.stride)
    if isinstance(backend, ExportedBackend) and backend.metadata.nms is not None:
        raise backend.error(
            f"holds its NMS, which would drop boxes before those of all tiles are known, found "
            f"tiles {tile}; export it without --nms"
        )


def check_tile(tile: int, stride: int) -> None:
    """Raise DetectorError for a tile whose side is smaller than the network's largest stride."""
    if tile < stride:
        raise DetectorError(f"tiles {tile}: expected at least the network's stride, {stride} px")


def parts_of(frame: Frame, tiling: TileSettings, views: Sequence[View] = ()) -> Iterator[Part]:
    """Yield the parts of a frame, or its views; a frame no larger than a tile is one part.

    Raises:
        DetectorError: the frame has too many tiles.
    """
    height, width = frame.image_rgb.shape[:2]
    whole = whole_window((height, width))
    if views:
        for index, view in enumerate(views):
            yield Part(frame, whole, index, len(views), view=view)
        return
    if tiling.tiles is None or max(height, width) <= tiling.tiles:
        yield Part(frame, whole)
        return
    try:
        windows = tile_windows((height, width), tiling.tiles, tiling.tile_overlap)
    except DetectorError as error:
        raise DetectorError(error.message, file=frame.path) from error
    count = len(windows) + tiling.tile_whole
    for index, window in enumerate(windows):
        yield Part(frame, window, index, count)
    if tiling.tile_whole:
        yield Part(frame, whole, len(windows), count, tiling.tiles * tiling.tile_overlap)


@dataclass(frozen=True)
class PartBoxes:
    """Candidates of several parts of an image, in pixels of the image.

    Attributes:
        boxes_xyxy: (m, 4) float32.
        scores: (m,) float32.
        class_ids: (m,) int64.
        part: (m,) int64, number of the part that each box comes from.
        is_cut: (m,) bool; the box ends at an inner border of its part.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    part: NDArray[np.int64]
    is_cut: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> PartBoxes:
        """Return some of the boxes, chosen by index or mask."""
        return PartBoxes(
            self.boxes_xyxy[rows],
            self.scores[rows],
            self.class_ids[rows],
            self.part[rows],
            self.is_cut[rows],
        )

    @staticmethod
    def concatenate(parts: Sequence[PartBoxes]) -> PartBoxes:
        """Return the boxes of all, one after the other."""
        return PartBoxes(
            np.concatenate([boxes.boxes_xyxy for boxes in parts]),
            np.concatenate([boxes.scores for boxes in parts]),
            np.concatenate([boxes.class_ids for boxes in parts]),
            np.concatenate([boxes.part for boxes in parts]),
            np.concatenate([boxes.is_cut for boxes in parts]),
        )


class PartMerger:
    """Merger of the boxes of an image's parts, which are added in their order.

    It holds the best ``settings.candidates`` boxes.

    Args:
        names: class names.
        settings: NMS settings.
    """

    def __init__(self, names: tuple[str, ...], settings: NmsSettings) -> None:
        self._names = names
        self._settings = settings
        self._windows: list[Window] = []
        self._boxes: list[PartBoxes] = []

    def add(self, part: Part, placement: Placement, candidates: Candidates) -> Detections | None:
        """Add the candidates of a part, in pixels of the input; merge those of all after the last.

        Returns:
            The boxes of the image after its last part, else None.
        """
        self._windows.append(part.window_xyxy)
        boxes_xyxy, scores, class_ids = candidates
        # Boxes of a tile always end with it.
        clip = part.view is None or self._settings.clip_boxes
        found = _in_image(part, (placement.to_image(boxes_xyxy, clip), scores, class_ids))
        boxes = PartBoxes.concatenate([*self._boxes, found])
        boxes = boxes.take(best_first(boxes.scores, self._settings.candidates))
        self._boxes = [boxes]
        if part.index + 1 < part.count:
            return None
        boxes = boxes.take(~replaced(boxes, self._windows, self._settings.class_agnostic))
        self._boxes, self._windows = [], []
        kept = select((boxes.boxes_xyxy, boxes.scores, boxes.class_ids), self._settings)
        return Detections(*kept, self._names)


def _in_image(part: Part, candidates: Candidates) -> PartBoxes:
    """Return candidates in pixels of the image, those that count, from pixels of a part."""
    boxes_xyxy, scores, class_ids = candidates
    if part.view is not None and part.view.flipped:
        boxes_xyxy = flipped_boxes(boxes_xyxy, part.size_hw[1])
    boxes_xyxy = to_image(boxes_xyxy, part.window_xyxy)
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    height, width = part.frame.image_rgb.shape[:2]
    found = PartBoxes(
        boxes_xyxy,
        scores,
        class_ids,
        np.full(len(scores), part.index),
        touches_inner_border(boxes_xyxy, part.window_xyxy, (height, width), BORDER),
    )
    return found.take(sides.max(1, initial=0) > part.longer_than) if part.longer_than else found


def replaced(
    boxes: PartBoxes, windows: Sequence[Window], class_agnostic: bool = False
) -> NDArray[np.bool_]:
    """Return which cut boxes another window shows better, (m,); rule 3 of this module.

    Args:
        boxes: (m) boxes, best first.
        windows: window of each part.
        class_agnostic: whether a box of another class may replace one, too.
    """
    dropped = np.zeros(len(boxes.scores), np.bool_)
    areas = area(boxes.boxes_xyxy)
    groups = np.zeros_like(boxes.class_ids) if class_agnostic else boxes.class_ids
    for number in np.unique(boxes.part[boxes.is_cut]):
        rows = np.flatnonzero(boxes.is_cut & (boxes.part == number))
        x1, y1, x2, y2 = windows[number]
        in_window = (boxes.boxes_xyxy[:, :2] < (x2, y2)) & (boxes.boxes_xyxy[:, 2:] > (x1, y1))
        others = np.flatnonzero(in_window.all(1) & (boxes.part != number))
        for some in np.array_split(rows, -(-len(rows) * len(others) // MAX_PAIRS) or 1):
            cut, other = some[:, None], others[None]
            shared, _ = intersection_and_union(
                boxes.boxes_xyxy[cut], boxes.boxes_xyxy[other], areas[cut], areas[other]
            )
            better = (
                (groups[cut] == groups[other])
                & (shared >= COVERED * areas[cut])
                & (boxes.scores[other] >= SCORE * boxes.scores[cut])
                # Of two cut boxes of one size the first remains.
                & ((areas[other] > areas[cut]) | ((areas[other] == areas[cut]) & (other < cut)))
            )
            dropped[some] = better.any(1)
    return dropped
