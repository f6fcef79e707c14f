"""Raw outputs read at single predictions, against all of them decoded at once."""

from __future__ import annotations

import pytest
import torch

from detector.assigners import Assignment
from detector.losses.raw_predictions import RawPredictions
from tests.losses.test_yolo import by_cells, make_loss, make_raw_outputs


@pytest.mark.parametrize("count", [0, 1, 300])
def test_predictions_are_read_as_the_head_decodes_them(count: int):
    """Predictions are read in any order, some of them twice."""
    head, raw_outputs = make_loss().head, make_raw_outputs()
    predictions = RawPredictions(head, raw_outputs)
    sizes_hw = [(raw.shape[2], raw.shape[3]) for raw in raw_outputs]
    boxes_xyxy, scores = (by_cells(part, sizes_hw) for part in head.decode(raw_outputs))
    generator = torch.Generator().manual_seed(0)
    image, prediction, class_ids = (
        torch.randint(0, high, (count,), generator=generator)
        for high in (2, len(predictions.grid), 3)
    )
    pairs = Assignment(image, prediction, torch.zeros_like(image))
    found_boxes, found_scores = predictions.all_classes(pairs)
    assert torch.equal(found_boxes, boxes_xyxy[image, prediction])
    assert torch.equal(found_scores, scores[image, prediction])
    found_boxes, found_scores = predictions.one_class(pairs, class_ids)
    assert torch.equal(found_boxes, boxes_xyxy[image, prediction])
    assert torch.equal(found_scores, scores[image, prediction, class_ids])
