"""Encoding and decoding of boxes, and anchors fitted to boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.heads.anchors import (
    agreement,
    best_possible_recall,
    decode_grid,
    decode_offsets,
    default_sizes,
    encode_grid,
    encode_offsets,
    evolve_anchors,
    fit_anchors,
)
from detector.structures.points import grid_xy
from detector.utils.errors import DetectorError


def test_decode_by_hand() -> None:
    # Logits 0: σ = ½, so the centre is cell + ½ and the size is the anchor's.
    raw, cells_xy = torch.zeros(1, 2, 2, 3, 4), grid_xy(2, 3, torch.zeros(0))
    anchors_wh = torch.tensor([[16.0, 8.0], [4.0, 4.0]])[:, None, None]
    boxes = decode_grid(raw, cells_xy, anchors_wh, stride=8)
    assert boxes.shape == (1, 2, 2, 3, 4)
    # Cell (2, 1): centre (20, 12); anchor 16 × 8 → 12, 8, 28, 16.
    assert boxes[0, 0, 1, 2].tolist() == [12, 8, 28, 16]
    assert boxes[0, 1, 0, 0].tolist() == [2, 2, 6, 6]
    # σ(ln 3) = ¾: centre (1.5 − 0.5 + 0) · 8 = 8, width 1.5² · 16 = 36.
    raw[0, 0, 0, 0, 0] = raw[0, 0, 0, 0, 2] = np.log(3)
    x1, _, x2, _ = decode_grid(raw, cells_xy, anchors_wh, 8)[0, 0, 0, 0]
    assert (x1 + x2).item() / 2 == pytest.approx(8)
    assert (x2 - x1).item() == pytest.approx(36)


def test_range_of_decoding() -> None:
    """Centres reach half a cell beyond the cell, sizes four times the anchor."""
    anchor = torch.tensor([[10.0, 20.0]])
    for sign, centre, size in ((-1, -4, 0), (1, 12, 4)):  # (−0.5 + 0) · 8, (1.5 + 0) · 8
        raw, cell = torch.full((1, 4), sign * 40.0), torch.zeros(1, 2)
        x1, y1, x2, y2 = decode_grid(raw, cell, anchor, 8).flatten()
        assert (x1 + x2).item() / 2 == pytest.approx(centre, abs=1e-4)
        assert (x2 - x1).item() == pytest.approx(10 * size, abs=1e-4)
        assert (y2 - y1).item() == pytest.approx(20 * size, abs=1e-4)


logits = st.lists(st.floats(-6, 6), min_size=4, max_size=4)
side = st.floats(2, 400)


@given(
    logits, st.tuples(side, side), st.integers(0, 4), st.integers(0, 6), st.sampled_from([8, 32])
)
def test_encode_inverts_decode(
    values: list[float], anchor: tuple[float, float], row: int, column: int, stride: int
) -> None:
    anchors_wh = torch.tensor([anchor], dtype=torch.float64)
    raw = torch.tensor([values], dtype=torch.float64)
    cell = torch.tensor([[column, row]], dtype=torch.float64)
    box = decode_grid(raw, cell, anchors_wh, stride)
    found = encode_grid(box, cell, anchors_wh, stride)
    torch.testing.assert_close(found, raw, rtol=1e-6, atol=1e-6)


def test_encode_of_none() -> None:
    none = torch.zeros(0, 4)
    assert encode_grid(none, torch.zeros(0, 2), torch.zeros(0, 2), 8).shape == (0, 4)


def test_fit_finds_the_centres() -> None:
    generator = np.random.default_rng(0)
    centres = np.array([[10.0, 12.0], [40.0, 30.0], [100.0, 120.0]])
    sizes = np.concatenate([centre + generator.uniform(-1, 1, (50, 2)) for centre in centres])
    found = fit_anchors(sizes, 3)
    np.testing.assert_allclose(found, centres, atol=0.5)  # sorted by area
    assert best_possible_recall(sizes, found, 4.0) == 1.0
    np.testing.assert_array_equal(found, fit_anchors(sizes, 3))


def test_agreement_by_hand() -> None:
    # Against 20×10: 10/20; 10/30 by the height; 80/20 = 4 is no match.
    sizes = np.array([[10.0, 10.0], [20.0, 30.0], [80.0, 10.0]])
    assert agreement(sizes, np.array([[20.0, 10.0]]), 4.0) == pytest.approx((1 / 2 + 1 / 3) / 3)


def test_evolution_by_hand() -> None:
    """Boxes of widths 10, 10, 10, 30, whose mean is 15: the agreement (3 · 10/w + w/30) / 4 falls
    from w = 10 on, and before it all four rise with w."""
    sizes = np.array([[10.0, 10.0]] * 3 + [[30.0, 10.0]])
    found = evolve_anchors(sizes, fit_anchors(sizes, 1), 4.0)
    np.testing.assert_allclose(found, [[10, 10]], rtol=0.02)


@given(st.integers(0, 20))
@settings(max_examples=5)
def test_evolution_never_makes_it_worse(seed: int) -> None:
    sizes = np.random.default_rng(seed).lognormal(3, 1, (60, 2))
    guess = fit_anchors(sizes, 4, seed)
    found = evolve_anchors(sizes, guess, 4.0, seed)
    assert agreement(sizes, found, 4.0) >= agreement(sizes, guess, 4.0)
    assert np.all(np.diff(found.prod(1)) >= 0)
    np.testing.assert_array_equal(found, evolve_anchors(sizes, guess, 4.0, seed))


def test_fit_needs_enough_boxes() -> None:
    with pytest.raises(DetectorError, match="^3 anchors need as many boxes of different size$"):
        fit_anchors(np.array([[10.0, 10.0], [20.0, 20.0], [20.0, 20.0]]), 3)


def test_best_possible_recall_by_hand() -> None:
    sizes = np.array([[10.0, 10.0], [39.0, 10.0], [41.0, 10.0], [10.0, 2.4]])
    # Against 10 × 10 the worst side ratios are 1, 3.9, 4.1 and 10 / 2.4 ≈ 4.17.
    assert best_possible_recall(sizes, np.array([[10.0, 10.0]]), 4.0) == 0.5
    assert best_possible_recall(sizes, np.array([[10.0, 10.0], [40.0, 10.0]]), 4.0) == 0.75


# ----------------------------------------------------------------------------- SSD's default boxes


def test_default_sizes_by_hand():
    # s = 30, s' = 60: √1800 = 42.43; ratio 2: 30√2 = 42.43 by 30/√2 = 21.21, and upright
    sizes = default_sizes((30, 60), [2])
    assert np.round(sizes, 2).tolist() == [[30, 30], [42.43, 42.43], [42.43, 21.21], [21.21, 42.43]]
    assert len(default_sizes((30, 60), [2, 3])) == 6
    assert default_sizes((30, 60), []) == [(30, 30), (math.sqrt(1800), math.sqrt(1800))]


def test_offsets_of_ten_thousand_boxes_come_back():
    generator = torch.Generator().manual_seed(0)

    def boxes(count: int) -> torch.Tensor:
        centre = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 300
        half = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 100 + 1
        return torch.cat((centre - half, centre + half), 1)

    targets, defaults = boxes(10_000), boxes(10_000)
    offsets = encode_offsets(targets, defaults, (0.1, 0.2))
    assert float((decode_offsets(offsets, defaults, (0.1, 0.2)) - targets).abs().max()) < 1e-5


def test_offsets_by_hand():
    default = torch.tensor([[10.0, 10, 30, 50]])  # centre (20, 30), 20 × 40
    box = torch.tensor([[12.0, 14, 32, 34]])  # centre (22, 24), 20 × 20
    # (22 − 20) / 20 / 0.1 = 1; (24 − 30) / 40 / 0.1 = −1.5; ln 1 = 0; ln ½ / 0.2 = −3.466
    found = encode_offsets(box, default, (0.1, 0.2))
    assert found[0].tolist() == pytest.approx([1, -1.5, 0, -3.4657], abs=1e-4)


def test_a_decoded_side_has_a_limit():
    """A decoded side is at most 10,000 times the default box's."""
    found = decode_offsets(
        torch.tensor([[0.0, 0, 1e9, 0]]), torch.tensor([[-1.0, -1, 1, 1]]), (0.1, 0.2)
    )
    assert found[0].tolist() == pytest.approx([-10_000, -1, 10_000, 1])
