"""``anchors``: fit anchors to a data set's boxes and print the line for the model file."""

from __future__ import annotations

from typing import Any

from detector.data.dataset import letterboxed_sizes, open_dataset
from detector.heads.anchors import best_possible_recall, evolve_anchors, fit_anchors
from detector.model.detector import build
from detector.settings.datasets import AnchorSettings
from detector.structures.preprocess import size_of_imgsz
from detector.utils.errors import DetectorError


def anchors(settings: AnchorSettings) -> dict[str, Any]:
    """Fit anchors; print and return them with the best possible recall before and after.

    Raises:
        DetectorError: the model has a head without anchors, or the data set cannot be read.
    """
    head = build(settings.cfg, None, settings.variant).head
    current = getattr(head, "anchors_wh", None)
    if current is None:
        raise DetectorError("has a head without anchors", file=settings.cfg)
    levels, per_level = current.shape[:2]
    dataset = open_dataset(
        settings.named_data("fit anchors to"),
        settings.split,
        data_root=settings.data_root,
        skip_bad=settings.skip_bad,
        max_unlabeled=settings.max_unlabeled,
        limit=settings.limit,
    )
    print(*dataset.report, sep="\n")
    sizes_wh = letterboxed_sizes(dataset, size_of_imgsz(settings.imgsz))
    ratio = settings.anchor_ratio
    fitted = fit_anchors(sizes_wh, levels * per_level, settings.seed)
    fitted = evolve_anchors(sizes_wh, fitted, ratio, settings.seed).round().clip(min=1)
    before = best_possible_recall(sizes_wh, current.reshape(-1, 2).numpy(), ratio)
    after = best_possible_recall(sizes_wh, fitted, ratio)
    rows = fitted.reshape(levels, per_level * 2).astype(int).tolist()
    print(f"boxes {len(sizes_wh)}; best possible recall: file {before:.4f}, fitted {after:.4f}")
    print(f"anchors: {rows}")
    return {"anchors": rows, "recall_before": before, "recall_after": after}
