"""Images that a data set has several times, within a split and across splits."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detector.data.checks.finding import Finding, Place, Severity, number_of
from detector.data.checks.measure import MeasuredImage
from detector.data.checks.near import MAX_CANDIDATES, Thumbnails, group_near
from detector.structures.samples import Sample

ACROSS = "an image of one split that another split shows, too, makes its AP too high"


@dataclass(frozen=True)
class Group:
    """Images of the same picture.

    Attributes:
        images: two or more, in the order of the splits.
        is_exact: the files or their pixels are equal.
    """

    images: tuple[MeasuredImage, ...]
    is_exact: bool

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have them."""
        return tuple(dict.fromkeys(image.split for image in self.images))

    @property
    def kind(self) -> str:
        """Return the kind of the finding that they are part of."""
        kind = "exact-duplicates" if self.is_exact else "near-duplicates"
        return f"{kind}-across-splits" if len(self.splits) > 1 else kind

    @property
    def labels_differ(self) -> bool:
        """True if the images, equal as they are, have different boxes."""
        labels = {_labels(image.sample) for image in self.images if image.sample is not None}
        return self.is_exact and len(labels) > 1


def duplicate_groups(images: Sequence[MeasuredImage]) -> tuple[list[Group], bool]:
    """Return all groups of duplicates, the exact ones first, and whether the search was complete.

    Exact duplicates have equal bytes, or equal pixels (JPEG files at the size that they are decoded
    to). Of these one represents the others in the search for near duplicates.
    """
    exact = _exact_groups(images)
    shown = [(group, group[0].pixels) for group in exact]
    comparable = [(group, pixels) for group, pixels in shown if pixels is not None]
    near = group_near(_stacked([pixels.thumbnail for _, pixels in comparable]))
    by_root: dict[int, list[MeasuredImage]] = {}
    members: dict[int, int] = {}
    for root, (group, _) in zip(near.roots.tolist(), comparable, strict=True):
        by_root.setdefault(root, []).extend(_one_of_each_split(group))
        members[root] = members.get(root, 0) + 1
    groups = [Group(tuple(group), True) for group in exact if len(group) > 1]
    groups += [Group(tuple(found), False) for root, found in by_root.items() if members[root] > 1]
    return groups, near.is_complete


def duplicate_findings(groups: Sequence[Group], is_complete: bool = True) -> Iterator[Finding]:
    """Yield a finding for each kind of duplicates."""
    by_kind: dict[str, list[Group]] = {}
    for group in groups:
        by_kind.setdefault(group.kind, []).append(group)
    for kind, (message, advice) in _TEXTS.items():
        found = by_kind.get(kind, [])
        if found:
            severity: Severity = "note" if kind == "near-duplicates" else "warning"
            text = message.format(number_of(len(found), "picture"), sum(map(_size, found)))
            yield Finding(kind, severity, text, len(found), advice, _places(found))
    conflicts = [group for group in groups if group.labels_differ]
    if conflicts:
        yield Finding(
            "duplicates-with-other-labels",
            "warning",
            f"{number_of(len(conflicts), 'picture')} of equal bytes or pixels with different boxes",
            len(conflicts),
            "correct the labels, or keep one of the files",
            _places(conflicts),
        )
    if not is_complete:
        yield Finding(
            "near-duplicates-incomplete",
            "note",
            f"more than {MAX_CANDIDATES} pairs of images look alike; the others were not compared",
            MAX_CANDIDATES,
        )


_TEXTS = {
    "exact-duplicates-across-splits": (
        "{} in more than one split ({} files with equal bytes or pixels)",
        f"{ACROSS}; --fix OUT leaves them out of train",
    ),
    "near-duplicates-across-splits": (
        "{} in more than one split but for compression, size or brightness ({} files)",
        f"{ACROSS}; look at them, and move each to one split",
    ),
    "exact-duplicates": (
        "{} several times in one split ({} files with equal bytes or pixels)",
        "each counts as often as it occurs; keep one of them",
    ),
    "near-duplicates": (
        "{} several times in one split but for compression, size or brightness ({} files)",
        "look at them: each counts as often as it occurs",
    ),
}
"""Message and advice of each kind, in the order of the report."""


def _exact_groups(images: Sequence[MeasuredImage]) -> list[list[MeasuredImage]]:
    """Return all images that can be read, those of equal bytes or equal pixels together."""
    readable = [image for image in images if image.file_digest is not None]
    by_bytes = _grouped((image.file_digest, [image]) for image in readable)
    return _grouped((_picture(group[0]), group) for group in by_bytes)


def _picture(image: MeasuredImage) -> Hashable:
    """Return what is equal for images of equal pixels, or else of equal bytes."""
    pixels = image.pixels
    return image.file_digest if pixels is None else (pixels.digest, pixels.size_hw)


def _grouped(
    pairs: Iterable[tuple[Hashable, list[MeasuredImage]]],
) -> list[list[MeasuredImage]]:
    groups: dict[Hashable, list[MeasuredImage]] = {}
    for key, images in pairs:
        groups.setdefault(key, []).extend(images)
    return list(groups.values())


def _one_of_each_split(group: Sequence[MeasuredImage]) -> list[MeasuredImage]:
    return list({image.split: image for image in reversed(group)}.values())[::-1]


def _stacked(thumbnails: Sequence[Thumbnails]) -> Thumbnails:
    return np.stack(thumbnails) if thumbnails else np.zeros((0, 1, 1), np.uint8)


def _size(group: Group) -> int:
    return len(group.images)


def _places(groups: Sequence[Group]) -> list[Place]:
    return [
        Place(image.path, f"picture {number}", image.split, group=number)
        for number, group in enumerate(groups, 1)
        for image in group.images
    ]


def _labels(sample: Sample) -> tuple[tuple[float, ...], ...]:
    rows = np.column_stack([sample.class_ids, sample.boxes_xyxy.astype(np.float64)])
    return tuple(sorted(map(tuple, rows.tolist())))
