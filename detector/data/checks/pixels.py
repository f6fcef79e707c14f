"""Images that look unlike the others: dark, blank, blurred, grey, of odd content or shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detector.data.checks.finding import Finding, Place, Severity, number_of
from detector.data.checks.measure import MeasuredImage, Pixels

MIN_BRIGHTNESS, MAX_BRIGHTNESS = 25.0, 235.0
"""Mean grey values, of 255, outside of which an image is dark or bright."""

MIN_CONTRAST = 2.0
"""Standard deviation of the grey values below which an image is blank."""

BLUR_DEVIATIONS = 3.5
"""Distance below the median sharpness of the set, in robust standard deviations of its logarithm,
from which an image is blurred (the customary limit of outliers by the median)."""

BLUR_FACTOR = 4.0
"""Smallest factor between the median sharpness and that of a blurred image."""

MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution by its median absolute deviation."""

MAX_GREY_SHARE = 0.2
"""Largest share of grey images in a set of colored ones at which they are exceptions."""

MAX_ASPECT_RATIO = 4.0
"""Ratio of an image's sides beyond which most of a square input is padding."""

MIN_IMAGES_FOR_BLUR = 10
"""Smallest number of images from which a median sharpness says something."""


@dataclass(frozen=True)
class Question:
    """What is asked of each image.

    Attributes:
        kind: kind of the finding.
        severity: its severity.
        message: text after the number of images.
        advice: what to do.
        detail: returns the detail of an image that has it, else "".
    """

    kind: str
    severity: Severity
    message: str
    advice: str
    detail: Callable[[MeasuredImage, Pixels], str]


QUESTIONS = (
    Question(
        "blank-images",
        "warning",
        "nearly of one color",
        "look at them: a camera or a download failed",
        lambda _, p: f"contrast {p.contrast:.1f}" if p.contrast < MIN_CONTRAST else "",
    ),
    Question(
        "dark-images",
        "note",
        f"darker than {MIN_BRIGHTNESS:g} of 255 on average",
        "look whether the objects can be seen",
        lambda _, p: (
            f"brightness {p.brightness:.0f}"
            if p.contrast >= MIN_CONTRAST and p.brightness < MIN_BRIGHTNESS
            else ""
        ),
    ),
    Question(
        "bright-images",
        "note",
        f"brighter than {MAX_BRIGHTNESS:g} of 255 on average",
        "look whether the objects can be seen",
        lambda _, p: (
            f"brightness {p.brightness:.0f}"
            if p.contrast >= MIN_CONTRAST and p.brightness > MAX_BRIGHTNESS
            else ""
        ),
    ),
    Question(
        "transparent-images",
        "note",
        "with transparency, which is ignored",
        "save them as they should look",
        lambda i, _: "alpha channel" if i.content.has_alpha else "",
    ),
    Question(
        "cmyk-images",
        "note",
        "in CMYK, whose colors are converted without a profile",
        "save them in RGB",
        lambda i, _: "CMYK" if i.content.channels == 4 else "",
    ),
    Question(
        "deep-images",
        "note",
        "of more than 8 bits, of which the upper 8 are kept",
        "convert the whole set to 8 bits by one range, if the objects need the lower ones",
        lambda i, _: f"{i.content.bits} bits" if i.content.bits > 8 else "",
    ),
    Question(
        "turned-images",
        "note",
        "turned by their EXIF orientation, which is applied",
        "check that their boxes were drawn on the turned image",
        lambda i, _: f"orientation {i.content.orientation}" if i.content.orientation > 1 else "",
    ),
    Question(
        "long-images",
        "note",
        f"more than {MAX_ASPECT_RATIO:g} times as long as wide",
        "most of a square input is padding; cut them, or give --imgsz HEIGHT,WIDTH",
        lambda _, p: (
            f"{p.size_hw[1]}×{p.size_hw[0]} px"
            if max(p.size_hw) > MAX_ASPECT_RATIO * min(p.size_hw)
            else ""
        ),
    ),
)


def pixel_findings(images: Sequence[MeasuredImage]) -> Iterator[Finding]:
    """Yield findings on the pixels of all images of the splits."""
    seen = [(image, image.pixels) for image in images if image.pixels is not None]
    for ask in QUESTIONS:
        places = [
            Place(image.path, detail, image.split)
            for image, pixels in seen
            if (detail := ask.detail(image, pixels))
        ]
        yield from _finding(ask.kind, ask.severity, ask.message, ask.advice, places)
    yield from _finding(
        "blurred-images",
        "note",
        "much less sharp than the others",
        "look whether the objects can be seen",
        _blurred(seen),
    )
    yield from _finding(
        "grey-images",
        "note",
        "without colors among colored ones",
        "check that the network will see such images, too",
        _grey(seen),
    )


def _finding(
    kind: str, severity: Severity, message: str, advice: str, places: Sequence[Place]
) -> Iterator[Finding]:
    if places:
        text = f"{number_of(len(places), 'image')} {message}"
        yield Finding(kind, severity, text, len(places), advice, places)


def _blurred(seen: Sequence[tuple[MeasuredImage, Pixels]]) -> list[Place]:
    """Return the images far below the median sharpness, the least sharp first."""
    textured = [(image, p) for image, p in seen if p.contrast >= MIN_CONTRAST and p.sharpness > 0]
    if len(textured) < MIN_IMAGES_FOR_BLUR:
        return []
    values = np.log([pixels.sharpness for _, pixels in textured])
    median = float(np.median(values))
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(values - median)))
    limit = median - max(BLUR_DEVIATIONS * deviation, np.log(BLUR_FACTOR))
    order = [n for n in np.argsort(values, kind="stable").tolist() if values[n] < limit]
    return [
        Place(
            image.path,
            f"sharpness {pixels.sharpness:.2g}, median {np.exp(median):.2g}",
            image.split,
        )
        for image, pixels in (textured[n] for n in order)
    ]


def _grey(seen: Sequence[tuple[MeasuredImage, Pixels]]) -> list[Place]:
    grey = [
        Place(image.path, "grey", image.split)
        for image, pixels in seen
        if pixels.is_grey and pixels.contrast >= MIN_CONTRAST
    ]
    return grey if len(grey) <= MAX_GREY_SHARE * len(seen) else []
