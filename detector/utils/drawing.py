"""Drawing of boxes and labels on a copy of an image; line and text sizes follow the image size."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.utils.opencv import Image, cv2

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN_RATIO = 0.618034
_SHADES = ((0.85, 1.0), (0.65, 0.85), (0.95, 0.75))  # (saturation, value) of successive classes


@lru_cache(maxsize=1024)
def class_colour(class_id: int) -> Colour:
    """Return the RGB colour of a class: fixed, and distinct from those of neighbouring ids."""
    hue = (0.01 + class_id * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, *_SHADES[class_id % len(_SHADES)])
    return round(255 * red), round(255 * green), round(255 * blue)


def text_colour(background: Colour) -> Colour:
    """Return black or white, whichever has the higher contrast by WCAG's relative luminance."""
    linear = [((value / 255 + 0.055) / 1.055) ** 2.4 for value in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    white_contrast, black_contrast = 1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05
    return (255, 255, 255) if white_contrast > black_contrast else (0, 0, 0)


def line_width(size_hw: tuple[int, int]) -> int:
    """Return a line width in pixels that fits an image: 2 at 320×320, 3 at 640, 6 at 2000."""
    return max(1, round(1 + 0.00125 * sum(size_hw)))


def draw_boxes(
    image_rgb: Image,
    boxes_xyxy: NDArray[np.float32],
    numbers: NDArray[np.int64],
    texts: Sequence[str],
) -> Image:
    """Draw boxes with labels in the colours of their numbers; the first box comes on top.

    Args:
        image_rgb: (h, w, 3) uint8; it is not changed.
        boxes_xyxy: (n, 4) in pixels of this image.
        numbers: (n,) class numbers or ids of tracks; they determine the colours.
        texts: n labels.

    Returns:
        A new image, (h, w, 3) uint8.
    """
    canvas: Image = np.array(image_rgb, np.uint8, order="C")
    size_hw = (canvas.shape[0], canvas.shape[1])
    colours = [class_colour(number) for number in numbers.tolist()]
    corners = boxes_xyxy.round().astype(int).tolist()
    labels = _place_labels(texts, corners, size_hw)
    for (x1, y1, x2, y2), colour in zip(corners[::-1], colours[::-1], strict=True):
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line_width(size_hw), cv2.LINE_AA)
    for label, colour in zip(labels[::-1], colours[::-1], strict=True):
        label.draw(canvas, colour)  # after all boxes, so that no line crosses a label
    return canvas


def draw_caption(image_rgb: Image, text: str, class_id: int) -> Image:
    """Return a copy (h, w, 3) uint8 with a line of text in its top left corner.

    The background of the text has the colour of the class.
    """
    canvas: Image = np.array(image_rgb, np.uint8, order="C")
    height, width = canvas.shape[:2]
    (label,) = _place_labels([text], [[0, 0, width, height]], (height, width))
    label.draw(canvas, class_colour(class_id))
    return canvas


class Line(NamedTuple):
    """Line to draw.

    Attributes:
        points_xy: (k, 2) points that it leads through, pixels.
        number: determines its colour.
        closed: it leads back to its first point.
        arrow: it has a tip at its last point.
    """

    points_xy: NDArray[np.floating[Any]]
    number: int
    closed: bool = False
    arrow: bool = False


def draw_lines(image_rgb: Image, lines: Iterable[Line]) -> Image:
    """Return a copy of an image, (h, w, 3) uint8, with lines; the last one comes on top."""
    canvas: Image = np.array(image_rgb, np.uint8, order="C")
    width = line_width((canvas.shape[0], canvas.shape[1]))
    for line in lines:
        colour, points = class_colour(line.number), line.points_xy.round().astype(np.int32)
        cv2.polylines(canvas, [points], line.closed, colour, width, cv2.LINE_AA)
        if line.arrow:
            start, end = points[-2:].tolist()
            cv2.arrowedLine(canvas, start, end, colour, width, cv2.LINE_AA, tipLength=0.4)
    return canvas


def draw_labels(
    image_rgb: Image,
    texts: Sequence[str],
    points_xy: NDArray[np.floating[Any]],
    numbers: Sequence[int],
) -> Image:
    """Draw texts beside points, within the image.

    Args:
        image_rgb: (h, w, 3) uint8; it is not changed.
        texts: n labels.
        points_xy: (n, 2) points, pixels.
        numbers: n numbers, which determine the colours.

    Returns:
        A new image, (h, w, 3) uint8.
    """
    canvas: Image = np.array(image_rgb, np.uint8, order="C")
    corners = np.tile(points_xy.round().astype(int), 2).tolist()
    labels = _place_labels(texts, corners, (canvas.shape[0], canvas.shape[1]))
    for label, number in zip(labels, numbers, strict=True):
        label.draw(canvas, class_colour(number))
    return canvas


@dataclass(frozen=True)
class _Label:
    """Text in a filled rectangle.

    Attributes:
        text: a single line.
        rectangle_xyxy: pixels; the right and bottom edges are exclusive.
        origin: (x, y) of the text's bottom left corner, as OpenCV takes it.
        scale: OpenCV's font scale.
        thickness: of the strokes, in pixels.
    """

    text: str
    rectangle_xyxy: tuple[int, int, int, int]
    origin: tuple[int, int]
    scale: float
    thickness: int

    def draw(self, canvas: Image, colour: Colour) -> None:
        x1, y1, x2, y2 = self.rectangle_xyxy
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, cv2.FILLED)
        cv2.putText(
            canvas,
            self.text,
            self.origin,
            _FONT,
            self.scale,
            text_colour(colour),
            self.thickness,
            cv2.LINE_AA,
        )


def _place_labels(
    texts: Sequence[str], corners: list[list[int]], size_hw: tuple[int, int]
) -> list[_Label]:
    """Place labels beside their boxes, first box first, so that they do not overlap if possible."""
    height, width = size_hw
    half_line = line_width(size_hw) // 2
    scale = (8 + 0.006 * (height + width)) / 28  # at scale 1 a line of text is 28 pixels high
    thickness = 1 if scale < 0.8 else 2
    taken = np.zeros((len(texts), 4), np.int64)
    labels = []
    for index, (text, (x1, y1, x2, y2)) in enumerate(zip(texts, corners, strict=True)):
        (text_width, text_height), below = cv2.getTextSize(text, _FONT, scale, thickness)
        margin = max(2, text_height // 5)
        label_w, label_h = text_width + 2 * margin, text_height + below + margin
        lefts = [
            max(0, min(left, width - label_w))
            for left in (x1 - half_line, x2 + half_line - label_w)
        ]
        above_inside_under = (y1 - half_line - label_h, max(0, y1 - half_line), y2 + half_line)
        tops = [top for top in above_inside_under if 0 <= top <= height - label_h] or [0]
        places = [(left, top, left + label_w, top + label_h) for left in lefts for top in tops]
        free = (place for place in places if not _overlaps(place, taken[:index]))
        taken[index] = place = next(free, places[0])
        origin = (place[0] + margin, place[3] - below - margin // 2)
        labels.append(_Label(text, place, origin, scale, thickness))
    return labels


def _overlaps(place_xyxy: tuple[int, int, int, int], taken_xyxy: NDArray[np.int64]) -> bool:
    """Return whether a rectangle overlaps any of (n, 4) others."""
    x1, y1, x2, y2 = place_xyxy
    left, top, right, bottom = taken_xyxy.T
    return bool(np.any((left < x2) & (x1 < right) & (top < y2) & (y1 < bottom)))
