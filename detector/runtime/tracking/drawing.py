"""Drawing of tracked frames: trails, boxes, and the counts of regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from detector.runtime.tracking.counting import RegionCount
from detector.runtime.tracking.trails import Trail
from detector.structures.detections import Detections
from detector.utils.drawing import Line, draw_labels, draw_lines, line_width
from detector.utils.opencv import Image

ARROW_WIDTHS = 12
"""Length of the arrow that shows a line's inner side, in widths of a line."""


def draw_tracks(
    image_rgb: Image,
    detections: Detections,
    trails: Sequence[Trail],
    counts: Sequence[RegionCount],
) -> Image:
    """Draw regions and trails, boxes over them, and the counts on top.

    Args:
        image_rgb: the frame, (h, w, 3) uint8; it is not changed.
        detections: its boxes, with ids.
        trails: of the boxes.
        counts: up to this frame.

    Returns:
        A new image, (h, w, 3) uint8.
    """
    lines = [Line(trail.points_xy, trail.track_id) for trail in trails]
    arrow = ARROW_WIDTHS * line_width((image_rgb.shape[0], image_rgb.shape[1]))
    drawn = draw_lines(image_rgb, [*_edges(counts, arrow), *lines])
    drawn = detections.draw(drawn)
    if not counts:
        return drawn
    texts = [f"in {sum(c.entered.values())} out {sum(c.left.values())}" for c in counts]
    middles = np.array([count.region.middle() for count in counts])
    return draw_labels(drawn, texts, middles, range(len(counts)))


def _edges(counts: Sequence[RegionCount], arrow: float) -> Iterator[Line]:
    """Yield the lines of regions; an arrow shows the inner side of a line."""
    for number, count in enumerate(counts):
        region = count.region
        yield Line(np.array(region.points_xy), number, closed=region.is_zone)
        if not region.is_zone:
            yield Line(region.inwards(arrow), number, arrow=True)
