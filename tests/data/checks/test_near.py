"""Search for pictures that differ by compression, size or brightness only."""

from __future__ import annotations

import time

import numpy as np
import pytest

from detector.data.checks import near
from detector.data.checks.near import difference_hashes, group_near


def pictures(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 256, (count, 32, 32)).astype(np.uint8)


def test_no_picture():
    assert group_near(np.zeros((0, 1, 1), np.uint8)).roots.tolist() == []


def test_the_hash_says_where_a_picture_gets_brighter():
    rising = np.tile(np.arange(0, 64, 2, dtype=np.uint8), (32, 1))
    hashes = difference_hashes(np.stack([rising, rising[:, ::-1], rising // 2 + 90]))
    assert hashes.tolist() == [2**64 - 1, 0, 2**64 - 1]


def test_groups(rng: np.random.Generator):
    all_pictures = pictures(rng, 6)
    all_pictures[3] = all_pictures[0] // 2 + 40  # darker, less contrast
    noise = rng.integers(-6, 7, (32, 32))
    all_pictures[5] = np.clip(all_pictures[1].astype(int) + noise, 0, 255)
    found = group_near(all_pictures)
    assert found.roots.tolist() == [0, 1, 2, 0, 4, 1]
    assert found.is_complete


def test_a_chain_is_one_group(rng: np.random.Generator):
    first, second = pictures(rng, 2).astype(float)
    # Neighbours share 1 − x and x of both: correlations of 0.97, of the ends 0.
    chain = [(1 - x) * first + x * second for x in np.linspace(0, 1, 6)]
    assert group_near(np.array(chain).astype(np.uint8)).roots.tolist() == [0] * 6


def test_equal_hashes_of_different_pictures_are_no_pair(rng: np.random.Generator):
    """Columns that rise from left to right give equal hashes, whatever lies within them."""
    columns = np.repeat(np.arange(10, 190, 20), 4)[:32]
    details = rng.integers(-60, 60, (2, 32, 32))
    details -= details.reshape(2, 8, 4, 32).mean(2).astype(int).repeat(4, axis=1)
    both = np.clip(columns + details, 0, 255).astype(np.uint8)
    distance = np.bitwise_count(np.bitwise_xor(*difference_hashes(both)))
    assert distance <= near.MAX_HASH_DISTANCE
    assert group_near(both).roots.tolist() == [0, 1]


def test_pictures_of_one_color_are_not_compared():
    flat = np.full((3, 32, 32), 90, np.uint8)
    assert group_near(flat).roots.tolist() == [0, 1, 2]


@pytest.mark.parametrize("count", [3000])
def test_many_alike_are_one_group_in_seconds(rng: np.random.Generator, count: int):
    many = np.repeat(pictures(rng, 1), count, axis=0)
    start = time.process_time()
    assert set(group_near(many).roots.tolist()) == {0}
    assert time.process_time() - start < 10


def test_the_number_of_compared_pairs_is_limited(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(near, "MAX_CANDIDATES", 3)
    monkeypatch.setattr(near, "MAX_HASH_DISTANCE", 64)  # each pair is a candidate
    assert group_near(pictures(rng, 3)).is_complete  # three pairs
    assert not group_near(pictures(rng, 4)).is_complete  # six
