"""COCO's matching and accumulation by the library faster-coco-eval, for large evaluation sets.

It is pycocotools' evaluation in C++. The summary is pycocotools' own, of the same arrays, which
differ by rounding alone: pycocotools adds 2e-16 to the number of boxes that it divides by.

Some input would make the library differ, and never reaches it. Ids are passed as numbers from 1 on,
since it keeps ids of images and classes as float64, and takes an id that is no uint64 for 0. Of an
object, box, area and ``iscrowd`` alone are passed, since it also reads the keys ``is_crowd``,
``lvis_mark`` and ``drop``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.utils.system import require

EXTRA = "faster"
"""Extra of this distribution that brings the library."""

PARAMETERS = ("iouThrs", "recThrs", "maxDets", "areaRng", "areaRngLbl", "useCats")
"""Parameters of an evaluation that both libraries name alike, except the ids."""


def import_faster() -> Any:
    """Import the library.

    Raises:
        DetectorError: it is not installed; names the command that installs it.
    """
    return require("faster_coco_eval", EXTRA)


class FasterCOCOeval(COCOeval):
    """pycocotools' evaluation, matched and accumulated by faster-coco-eval."""

    def evaluate(self) -> None:
        """Match all boxes with the ground truth; ``evalImgs`` reads the matches on access."""
        images = _numbers(self.params.imgIds)
        classes = _numbers(self.params.catIds)
        evaluation = import_faster().COCOeval_faster(
            _renumbered(self.cocoGt, images, classes),
            _renumbered(self.cocoDt, images, classes),
            "bbox",
            separate_eval=True,
        )
        for name in PARAMETERS:
            setattr(evaluation.params, name, getattr(self.params, name))
        evaluation.params.imgIds = list(images.values())
        evaluation.params.catIds = list(classes.values())
        evaluation.evaluate()
        self._evaluation = evaluation
        self.params.imgIds, self.params.catIds = list(images), list(classes)
        matches = _Matches(evaluation._evalImgs_cpp, len(self.params.iouThrs))
        self.evalImgs = cast(Any, matches)

    def accumulate(self, p: Any = None) -> None:
        """Accumulate the matches into precision and recall."""
        assert p is None, "parameters are those of evaluate()"
        self._evaluation.accumulate()
        self.eval = self._evaluation.eval


@dataclass(frozen=True)
class _Matches:
    """Matches of images and classes in pycocotools' form and order, read when they are asked for.

    Attributes:
        found: the library's matches, each of one class in one image.
        thresholds: number of IoU thresholds.
    """

    found: Sequence[Any]
    thresholds: int

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, part: slice) -> list[dict[str, Any]]:
        return [self._read(one) for one in self.found[part]]

    def _read(self, one: Any) -> dict[str, Any]:
        """Return what the library pickles of a match, by pycocotools' names."""
        matches, _, scores, objects_ignored, ignored, _ = one.__getstate__()
        shape = (self.thresholds, len(scores))
        return {
            "dtScores": scores,
            "dtMatches": np.array(matches, np.int64).reshape(shape),
            "dtIgnore": np.array(ignored, np.bool_).reshape(shape),
            "gtIgnore": objects_ignored,
        }


def _numbers(ids: Iterable[int]) -> dict[int, int]:
    """Return ids in ascending order with their numbers, from 1 on."""
    return {int(one): number for number, one in enumerate(np.unique(list(ids)), start=1)}


def _renumbered(coco: COCO, images: Mapping[int, int], classes: Mapping[int, int]) -> COCO:
    """Return the annotations of some images and classes, under numbers in place of their ids."""
    annotations = [
        {
            "image_id": images[one["image_id"]],
            "category_id": classes[one["category_id"]],
            "bbox": one["bbox"],
            "area": one["area"],
            "iscrowd": one["iscrowd"],
            **({"score": one["score"]} if "score" in one else {}),
        }
        for one in cast(Any, coco.dataset)["annotations"]
        if one["image_id"] in images and one["category_id"] in classes
    ]
    plain = COCO()
    plain.dataset = cast(
        Any,
        {
            "images": [{"id": number} for number in images.values()],
            "categories": [{"id": number} for number in classes.values()],
            "annotations": [{**one, "id": n} for n, one in enumerate(annotations, start=1)],
        },
    )
    plain.createIndex()
    return plain
