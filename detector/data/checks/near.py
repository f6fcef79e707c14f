"""Near duplicates: pictures that differ by compression, size or brightness only.

A perceptual hash finds candidates; their thumbnails decide. The hash is the difference hash, a bit
for each pair of neighbouring pixels of a 9×8 picture: twenty lines of numpy. The library ImageHash
would bring SciPy's transforms and PyWavelets for the same bits, one image at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.utils.opencv import cv2

HASH_SIZE_WH = (9, 8)

MAX_HASH_DISTANCE = 16
"""Largest number of the 64 bits that differ in candidates. Other compression, size and brightness
change up to 15; one pair in two thousand of photographs of one kind is as near."""

MIN_CORRELATION = 0.85
"""Smallest correlation of the thumbnails' details. That of a picture with itself at other
compression, size or brightness is above 0.95; that of different pictures below 0.5."""

DETAIL_SIGMA = 3.0
"""Standard deviation of the blur that is subtracted to get details, thumbnail pixels."""

MIN_DETAIL = 1.0
"""Smallest standard deviation of details, grey levels, of pictures that are compared: nothing can
be said of two that are nearly of one color."""

HASH_PAIRS_AT_ONCE = 1 << 21
"""Pairs of hashes that are compared by one call."""

PAIRS_AT_ONCE = 1 << 12
"""Pairs of thumbnails that are compared by one call."""

MAX_CANDIDATES = 5_000_000
"""Largest number of pairs of thumbnails that are compared; a set would have to be made for it to
have more."""

Thumbnails = NDArray[np.uint8]
Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class NearGroups:
    """Pictures grouped by likeness.

    Attributes:
        roots: (n,), equal for pictures of one group.
        is_complete: False if there were more candidates than are compared.
    """

    roots: NDArray[np.int64]
    is_complete: bool = True


def group_near(thumbnails: Thumbnails) -> NearGroups:
    """Group pictures that differ by compression, size or brightness only.

    Two pictures of a group are alike, or joined by others that are.

    Args:
        thumbnails: (n, side, side) grey.
    """
    details, has_detail = _details(thumbnails)
    hashes = difference_hashes(thumbnails)
    parents = np.arange(len(thumbnails))
    index = np.flatnonzero(has_detail)
    compared = 0
    step = max(HASH_PAIRS_AT_ONCE // max(len(index), 1), 1)
    for start in range(0, len(index), step):
        pairs = index[_candidates(hashes[index], start, step)]
        for first in range(0, len(pairs), PAIRS_AT_ONCE):
            chunk = pairs[first : first + PAIRS_AT_ONCE]
            parents = _roots(parents)
            chunk = chunk[parents[chunk[:, 0]] != parents[chunk[:, 1]]]
            compared += len(chunk)
            if compared > MAX_CANDIDATES:
                return NearGroups(parents, is_complete=False)
            _join(parents, chunk[_correlations(details, chunk) >= MIN_CORRELATION])
    return NearGroups(_roots(parents))


def difference_hashes(thumbnails: Thumbnails) -> NDArray[np.uint64]:
    """Return for each picture, (n, side, side), where it gets brighter from left to right: 64 bits.

    The pictures are shrunk to 9×8 pixels. Brightness and contrast change no bit.
    """
    if not len(thumbnails):
        return np.zeros(0, np.uint64)
    small = np.stack(
        [cv2.resize(one, HASH_SIZE_WH, interpolation=cv2.INTER_AREA) for one in thumbnails]
    )
    bits = small[:, :, 1:] > small[:, :, :-1]
    return np.packbits(bits.reshape(len(bits), -1), axis=1).view(np.uint64)[:, 0]


def _details(thumbnails: Thumbnails) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Return the details of pictures in 8 bits, (n, pixels), and which of them have any."""
    details = np.zeros((len(thumbnails), thumbnails[0].size if len(thumbnails) else 0), np.int8)
    has_detail = np.zeros(len(thumbnails), np.bool_)
    for number, thumbnail in enumerate(thumbnails):
        values = thumbnail.astype(np.float32)
        values -= cv2.GaussianBlur(values, (0, 0), DETAIL_SIGMA)
        values -= values.mean()
        has_detail[number] = values.std() >= MIN_DETAIL
        if has_detail[number]:
            details[number] = (values * (127 / np.abs(values).max())).round().ravel()
    return details, has_detail


def _candidates(hashes: NDArray[np.uint64], start: int, count: int) -> Pairs:
    """Return the pairs (i, j), i < j, of near hashes whose i is one of ``count`` from ``start``."""
    rows = hashes[start : start + count, None]
    is_near = np.bitwise_count(rows ^ hashes[None, start:]) <= MAX_HASH_DISTANCE
    first, second = np.nonzero(np.triu(is_near, 1))
    return np.stack([first, second], 1) + start


def _correlations(details: NDArray[np.int8], pairs: Pairs) -> NDArray[np.float32]:
    first, second = (details[pairs[:, side]].astype(np.float32) for side in (0, 1))
    products, squares_1, squares_2 = (
        np.einsum("ij,ij->i", a, b) for a, b in ((first, second), (first, first), (second, second))
    )
    return np.asarray(products / np.sqrt(squares_1 * squares_2), np.float32)


def _join(parents: Pairs, pairs: Pairs) -> None:
    """Join the groups of each pair; a group's root is its first picture."""
    for pair in pairs:
        first, second = sorted(_root(parents, one) for one in pair.tolist())
        parents[second] = first


def _root(parents: Pairs, one: int) -> int:
    while parents[one] != one:
        parents[one] = one = parents[parents[one]]
    return one


def _roots(parents: Pairs) -> Pairs:
    roots = parents
    while not np.array_equal(above := roots[roots], roots):
        roots = above
    return roots
