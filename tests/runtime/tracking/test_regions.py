"""Lines and zones: their texts, sides, distances and crossings, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detector.runtime.tracking.regions import EXPECTED, Region
from detector.utils.errors import DetectorError

SQUARE = "zone:10,10,30,10,30,30,10,30"


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("line:0,5,20,5", ((0, 5), (20, 5))),
        ("line:-1,0.5,2e1,5", ((-1, 0.5), (20, 5))),
        ("zone:0,0,4,0,0,4", ((0, 0), (4, 0), (0, 4))),
    ],
)
def test_parsed(text: str, points: tuple[tuple[float, float], ...]) -> None:
    assert Region.parse(text).points_xy == points


@pytest.mark.parametrize(
    "text",
    [
        "",
        "line",
        "line:",
        "line:1,2,3",
        "line:1,2,3,4,5",
        "line:1,2,3,x",
        "line:1,2,3,nan",
        "line:1,2,3,inf",
        "line:1,2,3,1000001",
        "zone:1,2,3,4",
        "zone:1,2,3,4,5,6,7",
        "Line:1,2,3,4",
        "circle:1,2,3,4",
        "1,2,3,4",
    ],
)
def test_no_region(text: str) -> None:
    with pytest.raises(DetectorError) as caught:
        Region.parse(text)
    assert str(caught.value) == f"count: {EXPECTED}, found {text!r}"


def test_too_many_corners() -> None:
    corner = ",0,0,0,9,9,9"
    assert len(Region.parse("zone:" + (corner * 300)[1:]).points_xy) == 900
    with pytest.raises(DetectorError, match="^count: expected line:.* found 'zone:0,0,0,9"):
        Region.parse("zone:" + (corner * 334)[1:])  # 1002 corners


@pytest.mark.parametrize(
    ("text", "what"),
    [("line:3,4,3,4", "line without length"), ("zone:0,0,5,5,9,9", "zone without area")],
)
def test_nothing_can_cross_it(text: str, what: str) -> None:
    with pytest.raises(DetectorError) as caught:
        Region.parse(text)
    assert str(caught.value) == f"count: a {what}, found {text!r}"


def test_outside_of_the_frames() -> None:
    Region.parse("line:-5,-5,300,300").check_frame((100, 200))
    Region.parse("line:200,0,250,100").check_frame((100, 200))
    for text in ("line:201,0,250,100", "line:0,101,9,101", "line:-9,0,-1,9"):
        with pytest.raises(DetectorError) as caught:
            Region.parse(text).check_frame((100, 200))
        assert str(caught.value) == f"count: {text} lies outside of frames of 200×100"


def test_inner_side_of_a_line() -> None:
    """Left of the way from its first to its second point, as it is seen in the image."""
    points = np.array([[5.0, 0], [5, 9]])  # above and below
    assert Region.parse("line:0,5,20,5").contains(points).tolist() == [True, False]
    assert Region.parse("line:20,5,0,5").contains(points).tolist() == [False, True]
    # Downwards: the left hand points to the right of the image.
    sides = Region.parse("line:5,0,5,20").contains(np.array([[9.0, 3], [1, 3]]))
    assert sides.tolist() == [True, False]
    start, end = Region.parse("line:0,5,20,5").inwards(4)
    assert (start.tolist(), end.tolist()) == ([5, 5], [5, 1])


def test_inside_of_a_zone() -> None:
    points = np.array([[20.0, 20], [9, 20], [31, 20], [20, 9], [20, 31], [11, 29]])
    assert Region.parse(SQUARE).contains(points).tolist() == [True, *[False] * 4, True]
    # A dart: the notch (20, 25) is outside, the arms are inside.
    dart = Region.parse("zone:0,0,20,20,40,0,20,40")
    assert dart.contains(np.array([[20.0, 30], [20, 10], [10, 15]])).tolist() == [True, False, True]
    assert Region.parse(SQUARE).contains(np.zeros((0, 2))).tolist() == []


def test_distances() -> None:
    line = Region.parse("line:0,0,10,0")
    # Beside it, beyond its end (3-4-5), on it.
    points = np.array([[5.0, 3], [13, 4], [2, 0]])
    assert line.distances(points).tolist() == [3, 5, 0]
    assert Region.parse(SQUARE).distances(np.array([[20.0, 12], [33, 34]])).tolist() == [2, 5]
    assert line.distances(np.zeros((0, 2))).tolist() == []


def test_ways_that_meet_a_line_and_that_pass_beside_it() -> None:
    line = Region.parse("line:0,0,10,0")
    assert line.is_crossed(np.array([5.0, -2]), np.array([6.0, 2]))
    assert line.is_crossed(np.array([10.0, -2]), np.array([10.0, 2]))  # through its end
    assert not line.is_crossed(np.array([12.0, -2]), np.array([11.0, 2]))
    assert Region.parse(SQUARE).is_crossed(np.zeros(2), np.array([20.0, 20]))
