"""Sizes of objects in the network's input: too small to be learned, and what would show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detector.data.augment.transforms import MIN_BOX_PIXELS
from detector.data.checks.finding import Finding, Place, number_of
from detector.structures.preprocess import Preprocess, imgsz_text
from detector.structures.samples import Sample

SMALL_PIXELS = 8.0
"""Shorter side below which an object is less than one cell of the finest level of most networks."""

MAX_INPUT_SIDE = 1280
"""Largest input that is suggested for small objects; beyond it tiles cost less."""

SIZE_EDGES = (2.0, 8.0, 16.0, 32.0, 96.0)
"""Limits of the bins that shorter sides are counted in, pixels of the input."""

MANY_SMALL = 0.1
"""Share of small objects that makes the finding a warning."""


def box_sizes(
    samples: Iterable[Sample], preprocess: Preprocess
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return widths and heights of boxes, (n, 2) pixels: in their images, in the network's input.

    Crowd regions are left out, as in training.
    """
    in_image, in_input = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for sample in samples:
        boxes_xyxy = sample.boxes_xyxy[~sample.crowd].astype(np.float64)
        sizes_wh = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
        scale_wh = np.divide(preprocess.size_hw, sample.size_hw)[::-1]
        if preprocess.mode == "letterbox":
            scale_wh = np.full(2, scale_wh.min())
        in_image.append(sizes_wh)
        in_input.append(sizes_wh * scale_wh)
    return np.concatenate(in_image), np.concatenate(in_input)


def shorter_sides(
    samples: Iterable[Sample], preprocess: Preprocess
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shorter side of each box in its image, and in the network's input, (n,) pixels."""
    in_image, in_input = box_sizes(samples, preprocess)
    return in_image.min(1), in_input.min(1)


def size_counts(in_input: NDArray[np.float64]) -> dict[str, int]:
    """Return how many objects have a shorter side in each bin, by the bin's text.

    >>> size_counts(np.array([1.0, 9.0, 500.0]))["8 to 16 px"]
    1
    """
    edges = [0.0, *SIZE_EDGES, math.inf]
    counts, _ = np.histogram(in_input, edges)
    texts = [f"{low:g} to {high:g} px" for low, high in zip(edges, edges[1:], strict=False)]
    texts[0], texts[-1] = f"below {edges[1]:g} px", f"{edges[-2]:g} px and more"
    return dict(zip(texts, counts.tolist(), strict=True))


def size_findings(
    splits: Sequence[str], samples: Sequence[Sample], preprocess: Preprocess, stride: int
) -> Iterator[Finding]:
    """Yield findings on objects that the input shows with too few pixels.

    Args:
        splits: n names of splits, of the samples.
        samples: n annotated images.
        preprocess: how images become the network's input.
        stride: the input's sides are multiples of it, pixels.
    """
    in_image, in_input = shorter_sides(samples, preprocess)
    owners = np.repeat(np.arange(len(samples)), [int((~one.crowd).sum()) for one in samples])
    size = imgsz_text(preprocess.size_hw)
    tiny = in_input <= MIN_BOX_PIXELS
    small = (in_input < SMALL_PIXELS) & ~tiny
    for kind, flags, limit in (
        ("tiny-objects", tiny, MIN_BOX_PIXELS),
        ("small-objects", small, SMALL_PIXELS),
    ):
        if not flags.any():
            continue
        is_many = kind == "tiny-objects" or flags.mean() >= MANY_SMALL
        per_image = np.bincount(owners[flags], minlength=len(samples))
        places = [
            Place(samples[n].path, number_of(int(per_image[n]), "object"), splits[n])
            for n in np.flatnonzero(per_image).tolist()
        ]
        compare = "at most" if kind == "tiny-objects" else "below"
        yield Finding(
            kind,
            "warning" if is_many else "note",
            f"{number_of(int(flags.sum()), 'object')} of {len(flags)} ({flags.mean():.1%}) "
            f"{compare} {limit:g} px wide or high in an input of {size} px"
            + (", which training drops" if kind == "tiny-objects" else ""),
            int(flags.sum()),
            _advice(in_image[flags], in_input[flags], limit, preprocess, stride),
            places,
        )


def _advice(
    in_image: NDArray[np.float64],
    in_input: NDArray[np.float64],
    limit: float,
    preprocess: Preprocess,
    stride: int,
) -> str:
    """Say which input shows such objects with more pixels, and whether tiles would."""
    can_grow = in_image > limit
    if not can_grow.any():
        return "they are as small in the images themselves: no input and no tiles show them better"
    growth = limit / float(in_input[can_grow].min())
    larger_hw = tuple(
        (math.floor(growth * side / stride) + 1) * stride for side in preprocess.size_hw
    )
    height, width = larger_hw
    which = "all of them" if can_grow.all() else f"{int(can_grow.sum())} of them"
    if max(larger_hw) <= MAX_INPUT_SIDE:
        return f"--imgsz {imgsz_text((height, width))} shows {which} larger than that"
    smallest = float(in_image[can_grow].min())
    return (
        f"--imgsz {imgsz_text((height, width))} would show {which} larger than that; tiles of "
        f"{imgsz_text(preprocess.size_hw)} px at the images' own size do, too, and cost less: the "
        f"smallest has {smallest:.0f} px there"
    )
