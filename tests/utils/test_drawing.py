"""Drawing: what is touched, which colours, and that labels stay inside and apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.utils.drawing import (
    Line,
    class_colour,
    draw_boxes,
    draw_caption,
    draw_labels,
    draw_lines,
    line_width,
    text_colour,
)


def draw(image, boxes, names=("cat",), class_ids=None):
    class_ids = np.array(class_ids or [0] * len(boxes), np.int64)
    texts = [f"{names[i]} 0.90" for i in class_ids]
    return draw_boxes(image, np.array(boxes, np.float32).reshape(-1, 4), class_ids, texts)


def test_no_box_gives_an_equal_copy():
    image = np.full((40, 60, 3), 7, np.uint8)
    drawn = draw(image, [])
    assert np.array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_a_box_is_drawn_in_its_classs_colour_and_the_image_stays():
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw(image, [[50, 60, 250, 180]], ("cat", "dog"), [1])
    assert not image.any()
    assert tuple(drawn[120, 50]) == class_colour(1)
    assert tuple(drawn[180, 150]) == class_colour(1)
    assert not drawn[120, 150].any()  # inside the box: as before
    assert not drawn[:, :40].any()


def test_the_label_stands_above_its_box_and_below_the_edge_where_there_is_no_room():
    image = np.zeros((200, 300, 3), np.uint8)
    above = draw(image, [[50, 100, 250, 180]])
    assert above[85:98].any()
    inside = draw(image, [[50, 0, 250, 180]])
    assert inside[4:10, 60:80].any()


def test_labels_of_two_boxes_in_one_place_do_not_hide_each_other():
    image = np.zeros((400, 600, 3), np.uint8)
    box = [100, 100, 400, 300]
    drawn = draw(image, [box, box], ("a", "b"), [0, 1])
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3).tolist()}
    assert {class_colour(0), class_colour(1)} <= colours
    # Filled labels, not lines: whole blocks of each colour.
    for class_id in (0, 1):
        assert (drawn == class_colour(class_id)).all(axis=2).sum() > 300


def test_the_best_box_comes_on_top():
    image = np.zeros((400, 600, 3), np.uint8)
    box = [100, 100, 400, 300]
    drawn = draw(image, [box, box], ("a", "b"), [1, 0])
    assert tuple(drawn[300, 250]) == class_colour(1)


def test_a_caption_is_one_label_in_the_corner():
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw_caption(image, "dog 0.90", 1)
    assert not image.any()
    assert tuple(drawn[1, 1]) == class_colour(1)
    assert not drawn[100:].any()
    assert not drawn[:, 200:].any()


def test_a_grey_view_of_memory_and_a_read_only_image():
    image = np.zeros((64, 64, 6), np.uint8)[:, :, ::2]
    image.flags.writeable = False
    assert draw(image, [[10, 10, 50, 50]]).any()


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    corners=st.lists(
        st.tuples(*[st.floats(0, 400, width=32) for _ in range(4)]), min_size=1, max_size=8
    ),
)
def test_any_size_and_any_box(height, width, corners):
    boxes = [[min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)] for x1, y1, x2, y2 in corners]
    drawn = draw(np.zeros((height, width, 3), np.uint8), boxes, ("a long name of a class",))
    assert drawn.shape == (height, width, 3)


@pytest.mark.parametrize(
    ("size_hw", "width"), [((1, 1), 1), ((320, 320), 2), ((640, 640), 3), ((2000, 2000), 6)]
)
def test_line_width_grows_with_the_image(size_hw, width):
    assert line_width(size_hw) == width


def test_colours_are_stable_distinct_and_their_text_is_readable():
    colours = [class_colour(class_id) for class_id in range(80)]
    assert colours == [class_colour(class_id) for class_id in range(80)]
    assert len(set(colours)) == 80
    for colour in colours:
        # WCAG asks for a contrast of 4.5; with the better of black and white it is never below.
        linear = [((value / 255 + 0.055) / 1.055) ** 2.4 for value in colour]
        luminance = float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
        text = 1.0 if text_colour(colour)[0] else 0.0
        high, low = max(text, luminance), min(text, luminance)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_neighbouring_classes_differ_clearly():
    for class_id in range(79):
        one, other = np.array(class_colour(class_id)), np.array(class_colour(class_id + 1))
        assert np.abs(one - other).sum() > 150


def test_lines():
    """An open line ends where it ends, a closed one leads back; the last one comes on top."""
    image = np.zeros((600, 1000, 3), np.uint8)  # lines of 3 px
    corners = np.float32([[100, 100], [900, 100], [900, 500]])
    drawn = draw_lines(image, [Line(corners, 3)])
    assert not image.any()
    assert tuple(drawn[100, 500]) == tuple(drawn[300, 900]) == class_colour(3)
    assert not drawn[300, 500].any()
    closed = draw_lines(image, [Line(corners, 3, closed=True), Line(corners[:2], 4)])
    assert tuple(closed[300, 500]) == class_colour(3)
    assert tuple(closed[100, 500]) == class_colour(4)
    # The tip of an arrow is wider than its line.
    arrow = draw_lines(image, [Line(np.float32([[500, 500], [500, 400]]), 0, arrow=True)])
    widths = arrow.any(2).sum(1)
    assert widths[480] < 8 < widths[400:440].max()
    assert not draw_lines(image, []).any()
    far = draw_lines(image, [Line(np.float64([[-1e6, 300], [1e6, 300]]), 2)])
    assert (far[300] == class_colour(2)).all()


def test_labels_beside_points():
    image = np.zeros((60, 200, 3), np.uint8)
    drawn = draw_labels(image, ["in 1 out 2", "x"], np.float32([[100, 30], [-50, 900]]), [1, 2])
    assert not image.any()
    for number in (1, 2):  # within the image, wherever the point is
        assert (drawn == class_colour(number)).all(2).sum() > 20
