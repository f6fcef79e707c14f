"""Counts by hand: crossings, trembling, gaps, several videos, memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detector.runtime.tracking.counting import RegionCount, RegionCounter
from detector.runtime.tracking.regions import Region
from detector.structures.detections import Detections

NAMES = ("car", "dog")
UP = "line:0,50,100,50"
"""What goes up across it goes in."""


def at(*centres: tuple[float, float], ids: Sequence[int] = (1,), classes: Sequence[int] = (0,)):
    """Boxes of 20 px: a centre is decided 2 px from an edge."""
    points = np.array(centres, np.float32).reshape(-1, 2)
    return Detections(
        np.concatenate((points - 10, points + 10), 1),
        np.full(len(points), 0.5, np.float32),
        np.array(classes[: len(points)], np.int64),
        NAMES,
        np.array(ids[: len(points)], np.int64),
    )


def counter_of(text: str) -> RegionCounter:
    return RegionCounter(RegionCount.none(Region.parse(text)))


def counted(text: str, ys: Sequence[float], x: float = 50) -> tuple[dict, dict]:
    """What one car counts that moves from y to y."""
    counter = counter_of(text)
    for y in ys:
        count = counter.update(at((x, y)), {1})
    return dict(count.entered), dict(count.left)


@pytest.mark.parametrize(
    ("ys", "entered", "left"),
    [
        ([90], {}, {}),
        ([90, 10], {"car": 1}, {}),
        ([10, 90], {}, {"car": 1}),
        ([90, 10, 90, 10], {"car": 2}, {"car": 1}),
        ([90, 50, 10], {"car": 1}, {}),
        ([90, 50, 90], {}, {}),
        ([51.5, 48.5, 51.5, 48.5], {}, {}),  # it trembles within the margin: never decided
        ([53, 48.5, 51, 49, 47.5], {"car": 1}, {}),  # counted once, at the last
    ],
)
def test_line(ys: list[float], entered: dict, left: dict) -> None:
    assert counted(UP, ys) == (entered, left)


def test_beside_the_line_nothing_is_counted() -> None:
    assert counted(UP, [90, 10], x=120) == ({}, {})
    # Around its end and back across it: the way back is counted.
    counter = counter_of(UP)
    for centre in [(90, 90), (130, 60), (130, 40), (90, 10), (90, 90)]:
        count = counter.update(at(centre), {1})
    assert (dict(count.entered), dict(count.left)) == ({}, {"car": 1})


def test_zone() -> None:
    text = "zone:0,40,100,40,100,60,0,60"
    assert counted(text, [10, 30, 50, 70]) == ({"car": 1}, {"car": 1})
    assert counted(text, [50, 70]) == ({}, {"car": 1})  # it was inside when first seen
    assert counted(text, [10, 90]) == ({}, {})  # between two frames: not seen inside


def test_an_object_that_some_frames_do_not_show() -> None:
    counter = counter_of(UP)
    counter.update(at((50, 60)), {1})
    for _ in range(20):
        counter.update(at(ids=()), {1})
    assert dict(counter.update(at((50, 40)), {1}).entered) == {"car": 1}


def test_an_ended_track_is_forgotten() -> None:
    counter = counter_of(UP)
    for track_id in range(1, 1000):
        counter.update(at((50, 60), ids=[track_id]), {track_id})
    assert len(counter._sides) == 1
    counter.update(at(ids=()), set())
    assert counter._sides == {}


def test_classes_and_videos() -> None:
    totals = RegionCount.none(Region.parse(UP))
    for _ in range(2):
        counter = RegionCounter(totals)
        counter.update(at((20, 90), (60, 90), ids=[1, 2], classes=[0, 1]), {1, 2})
        count = counter.update(at((20, 10), (60, 10), ids=[1, 2], classes=[0, 1]), {1, 2})
        assert dict(count.entered) == {"car": 1, "dog": 1}
    assert totals.to_dict() == {"region": UP, "in": {"car": 2, "dog": 2}, "out": {}}
    assert totals.describe() == f"{UP}: in 4 (2 car, 2 dog), out 0"


def test_counts_of_a_frame_do_not_change_later() -> None:
    counter = counter_of(UP)
    first = counter.update(at((50, 90)), {1})
    counter.update(at((50, 10)), {1})
    assert dict(first.entered) == {}
