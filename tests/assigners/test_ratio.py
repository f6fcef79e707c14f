"""Matching of targets and anchors by side lengths, against hand-made cases and a slow loop."""

import torch

from detector.assigners import AnchorGrid, RatioAssigner
from detector.structures.samples import Targets


def make_targets(*boxes_xyxy: list[float]) -> Targets:
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4)
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    return Targets(boxes, zeros, zeros)


def assigned(targets, anchors, strides, sizes_hw, ratio=4.0) -> set[tuple[int, ...]]:
    """Return (image, level, anchor, row, column, target) of each pair; none occurs twice."""
    grid = AnchorGrid(anchors, strides, sizes_hw)
    pairs = RatioAssigner(ratio)(targets, grid)
    level, y, x, anchor = grid.locate(pairs.prediction)
    fields = (pairs.image, level, anchor, y, x, pairs.target)
    found = list(zip(*(field.tolist() for field in fields), strict=True))
    assert len(set(found)) == len(found)
    return set(found)


def test_no_target_gives_no_assignment():
    assert assigned(make_targets(), torch.ones(1, 3, 2), [8], [(4, 4)]) == set()


def test_a_target_goes_to_its_cell_and_the_two_nearest():
    # centre (22, 13) px at stride 8 = (2.75, 1.625) cells: home (2, 1); x is beyond the middle
    # → (3, 1); so is y → (2, 2). Anchor 8×8 against the box of 8×6: ratios 1 and 8/6 < 4.
    targets = make_targets([18, 10, 26, 16])
    found = assigned(targets, torch.tensor([[[8.0, 8.0]]]), [8], [(4, 4)])
    assert found == {(0, 0, 0, 1, 2, 0), (0, 0, 0, 1, 3, 0), (0, 0, 0, 2, 2, 0)}


def test_neighbours_outside_the_level_are_left_out():
    # centre (2, 2) px at stride 8 = (.25, .25): the nearer neighbours are column −1 and row −1
    anchor = torch.tensor([[[4.0, 4.0]]])
    assert assigned(make_targets([0, 0, 4, 4]), anchor, [8], [(4, 4)]) == {(0, 0, 0, 0, 0, 0)}


def test_a_centre_on_the_far_border_stays_inside():
    # centre (32, 32) px at stride 8 = (4, 4), one past the last cell of a 4×4 level: that cell is
    # home; the distance from its corner is 1 ≥ .5, so the neighbours would be column 4 and row 4
    anchor = torch.tensor([[[4.0, 4.0]]])
    assert assigned(make_targets([30, 30, 34, 34]), anchor, [8], [(4, 4)]) == {(0, 0, 0, 3, 3, 0)}


def test_ratio_decides_which_anchors_fit():
    # box 40×10: anchor 10×10 has ratio 4, not below 4; 11×10 has 40/11 = 3.64; 10×39 has 4 and 3.9
    anchors = torch.tensor([[[10.0, 10.0], [11.0, 10.0], [10.0, 39.0]]])
    found = assigned(make_targets([0, 0, 40, 10]), anchors, [8], [(8, 8)])
    assert {anchor for _, _, anchor, *_ in found} == {1}


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
    expected = set()
    for level, (stride, (height, width)) in enumerate(zip(strides, sizes_hw, strict=True)):
        for number, (x1, y1, x2, y2) in enumerate(targets.boxes_xyxy.tolist()):
            cx, cy = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
            x, y = min(int(cx), width - 1), min(int(cy), height - 1)
            cells = [(x, y), (x + (1 if cx - x >= 0.5 else -1), y)]
            cells.append((x, y + (1 if cy - y >= 0.5 else -1)))
            for a, (aw, ah) in enumerate(anchors[level].tolist()):
                w, h = x2 - x1, y2 - y1
                if max(w / aw, aw / w, h / ah, ah / h) >= 4:
                    continue
                image = int(targets.image_index[number])
                expected |= {
                    (image, level, a, row, column, number)
                    for column, row in cells
                    if 0 <= column < width and 0 <= row < height
                }
    assert assigned(targets, anchors, strides, sizes_hw) == expected
