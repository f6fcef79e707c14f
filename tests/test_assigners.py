"""Matching of truths and anchors, against hand-made cases and a slow loop."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from detector.assigners import IouAssigner, RatioAssigner, best_pairs
from detector.structures import Targets


def make_targets(*boxes_xyxy: list[float]) -> Targets:
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4)
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    return Targets(boxes, zeros, zeros)


def assigned(level) -> set[tuple[int, ...]]:
    fields = (level.image, level.anchor, level.y, level.x, level.target)
    return set(zip(*(field.tolist() for field in fields), strict=True))


def test_no_target_gives_no_assignment():
    (level,) = RatioAssigner(4.0)(make_targets(), torch.ones(1, 3, 2), [8], [(4, 4)])
    assert len(level) == 0


def test_a_truth_goes_to_its_cell_and_the_two_nearest():
    # centre (22, 13) px at stride 8 = (2.75, 1.625) cells: home (2, 1); x is beyond the middle
    # → (3, 1); so is y → (2, 2). Anchor 8×8 against the box of 8×6: ratios 1 and 8/6 < 4.
    targets = make_targets([18, 10, 26, 16])
    (level,) = RatioAssigner(4.0)(targets, torch.tensor([[[8.0, 8.0]]]), [8], [(4, 4)])
    assert assigned(level) == {(0, 0, 1, 2, 0), (0, 0, 1, 3, 0), (0, 0, 2, 2, 0)}


def test_neighbours_outside_the_map_are_left_out():
    # centre (2, 2) px at stride 8 = (.25, .25): the nearer neighbours are column −1 and row −1
    (level,) = RatioAssigner(4.0)(
        make_targets([0, 0, 4, 4]), torch.tensor([[[4.0, 4.0]]]), [8], [(4, 4)]
    )
    assert assigned(level) == {(0, 0, 0, 0, 0)}


def test_a_centre_on_the_far_border_stays_inside():
    # centre (32, 32) px at stride 8 = (4, 4), one past the last cell of a 4×4 map: the last cell is
    # home; the distance from its corner is 1 ≥ .5, so the neighbours would be column 4 and row 4
    (level,) = RatioAssigner(4.0)(
        make_targets([30, 30, 34, 34]), torch.tensor([[[4.0, 4.0]]]), [8], [(4, 4)]
    )
    assert assigned(level) == {(0, 0, 3, 3, 0)}


def test_ratio_decides_which_anchors_fit():
    # box 40×10: anchor 10×10 has ratio 4, not below 4; 11×10 has 40/11 = 3.64; 10×39 has 4 and 3.9
    anchors = torch.tensor([[[10.0, 10.0], [11.0, 10.0], [10.0, 39.0]]])
    (level,) = RatioAssigner(4.0)(make_targets([0, 0, 40, 10]), anchors, [8], [(8, 8)])
    assert set(level.anchor.tolist()) == {1}


def test_equal_to_a_loop_over_images_levels_and_anchors():
    generator = torch.Generator().manual_seed(0)
    count, strides, sizes_hw = 200, [8, 16, 32], [(16, 20), (8, 10), (4, 5)]
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([160.0, 128.0])
    halves = torch.rand(count, 2, generator=generator) * 60 + 1
    targets = Targets(
        torch.cat((centres - halves, centres + halves), 1),
        torch.zeros(count, dtype=torch.int64),
        torch.randint(0, 4, (count,), generator=generator),
    )
    anchors = torch.rand(3, 3, 2, generator=generator) * 100 + 5
    levels = RatioAssigner(4.0)(targets, anchors, strides, sizes_hw)
    for level, level_anchors, stride, (height, width) in zip(
        levels, anchors, strides, sizes_hw, strict=True
    ):
        expected = set()
        for number, (x1, y1, x2, y2) in enumerate(targets.boxes_xyxy.tolist()):
            cx, cy = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
            x, y = min(int(cx), width - 1), min(int(cy), height - 1)
            cells = [(x, y), (x + (1 if cx - x >= 0.5 else -1), y)]
            cells.append((x, y + (1 if cy - y >= 0.5 else -1)))
            for a, (aw, ah) in enumerate(level_anchors.tolist()):
                w, h = x2 - x1, y2 - y1
                if max(w / aw, aw / w, h / ah, ah / h) >= 4:
                    continue
                for column, row in cells:
                    if 0 <= column < width and 0 <= row < height:
                        image = int(targets.image_index[number])
                        expected.add((image, a, row, column, number))
        assert assigned(level) == expected
        assert len(level) == len(expected)


# ---------------------------------------------------------------------------------- SSD's matching


def ssd_targets(*boxes: list[float], image: list[int] | None = None) -> Targets:
    return Targets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.zeros(len(boxes), dtype=torch.int64),
        torch.tensor(image or [0] * len(boxes), dtype=torch.int64),
    )


def test_iou_matching_by_hand():
    """Against [0, 0, 10, 10]: IoU 1/2 (half of it), 49/100, and 25/175 = 0.14."""
    defaults = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 7, 7], [5, 5, 15, 15], [20, 20, 30, 30]]
    )
    found = IouAssigner()(ssd_targets([0, 0, 10, 10]), defaults, batch=2)
    assert found.tolist() == [[0, 0, -1, -1, -1], [-1] * 5]


def test_a_truth_without_any_overlap_of_half_gets_its_best_box():
    defaults = torch.tensor([[0.0, 0, 10, 10], [0, 0, 100, 100]])
    assert IouAssigner()(ssd_targets([0, 0, 3, 3]), defaults, 1).tolist() == [[0, -1]]


def test_a_box_belongs_to_the_truth_it_overlaps_most():
    defaults = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8]])
    targets = ssd_targets([0, 0, 10, 8], [0, 0, 10, 10])
    # the box in the middle: IoU 8/9 with the first, 9/10 with the second
    assert IouAssigner()(targets, defaults, 1).tolist() == [[1, 1, 0]]


def test_truths_are_numbered_through_the_batch():
    defaults = torch.tensor([[0.0, 0, 10, 10]])
    targets = ssd_targets([0, 0, 10, 10], [0, 0, 10, 9], image=[2, 0])
    assert IouAssigner()(targets, defaults, 3).tolist() == [[1], [-1], [0]]


def test_two_truths_that_want_the_same_box():
    """The better one has it; the other takes what is left, whatever its IoU."""
    overlaps = torch.tensor([[0.6, 0.1, 0.0], [0.7, 0.2, 0.3]])
    assert best_pairs(overlaps).tolist() == [1, 0]
    # The first truth's pair comes before the second's claim by IoU.
    assert IouAssigner().match(overlaps).tolist() == [1, 0, -1]


@given(st.integers(0, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_best_pairs_equals_a_loop(m: int, n: int, seed: int):
    """Few different values: many ties."""
    overlaps = torch.randint(0, 5, (m, n), generator=torch.Generator().manual_seed(seed)) / 4
    expected = [-1] * m
    pairs = [(-float(overlaps[i, j]), i, j) for i in range(m) for j in range(n)]
    for value, i, j in sorted(pairs):
        if value < 0 and expected[i] < 0 and j not in expected:
            expected[i] = j
    assert best_pairs(overlaps).tolist() == expected
