"""The result of a detector for one image, and its conversions to other formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from detector.structures.images import ImageLike, to_rgb
from detector.utils.drawing import draw_boxes
from detector.utils.errors import DetectorError, nearest
from detector.utils.files import write_text
from detector.utils.opencv import Image
from detector.utils.system import require

if TYPE_CHECKING:
    import pandas
    import supervision

SUFFIXES = (".csv", ".json", ".txt")
"""Suffixes of the formats that :meth:`Detections.save` writes."""

Index = SupportsIndex | slice | Sequence[int] | Sequence[bool] | NDArray[Any]
"""An index of boxes: a position, a slice, positions, or a mask."""


class Detection(NamedTuple):
    """One box of an image.

    Attributes:
        box_xyxy: (4,) float32, pixels of the original image.
        score: confidence, 0..1.
        class_id: index into the model's class names.
        name: class name.
    """

    box_xyxy: NDArray[np.float32]
    score: float
    class_id: int
    name: str


@dataclass(frozen=True)
class Detections:
    """Boxes of one image, best score first.

    Boxes can be indexed as in numpy, by a position, a slice, a mask or an array of positions; the
    result is a copy and again ``Detections``, with one box for a single position. Iteration yields
    each box as a :class:`~detector.structures.detections.Detection`.

    Example:
        >>> result = Detections(
        ...     boxes_xyxy=np.float32([[10, 20, 30, 60], [0, 0, 100, 50]]),
        ...     scores=np.float32([0.75, 0.25]),
        ...     class_ids=np.int64([1, 0]),
        ...     names=("cat", "dog"),
        ... )
        >>> [(name, score) for _, score, _, name in result]
        [('dog', 0.75), ('cat', 0.25)]
        >>> result[result.scores > 0.5].class_names
        ['dog']

    Attributes:
        boxes_xyxy: (n, 4) float32, pixels of the original image.
        scores: (n,) float32 in 0..1, descending.
        class_ids: (n,) int64, indices into ``names``.
        names: all class names of the model.
        track_ids: (n,) int64 from 1, the same for one object in all frames of a video; None
            without tracking. Every function that chooses or converts boxes keeps them.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    names: tuple[str, ...]
    track_ids: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_xyxy.shape != (n, 4) or self.class_ids.shape != (n,):
            raise ValueError(
                f"expected boxes (n, 4), scores (n,), class_ids (n,); found "
                f"{self.boxes_xyxy.shape}, {self.scores.shape}, {self.class_ids.shape}"
            )
        if n and not 0 <= int(self.class_ids.min()) <= int(self.class_ids.max()) < len(self.names):
            raise ValueError(f"class_ids outside 0..{len(self.names) - 1}")
        if np.any(np.diff(self.scores) > 0):
            raise ValueError("scores are not in descending order")
        if self.track_ids is not None and self.track_ids.shape != (n,):
            raise ValueError(f"expected track_ids ({n},), found {self.track_ids.shape}")

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> Detections:
        """Return detections without any box."""
        return cls(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), names
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Index) -> Detections:
        """Return a copy of some of the boxes.

        Raises:
            IndexError: a position out of range, or a mask of another length.
            ValueError: positions that would reorder the boxes, which stay best score first.
        """
        rows = np.atleast_1d(np.arange(len(self))[_as_index(index)])
        ids = None if self.track_ids is None else self.track_ids[rows]
        return Detections(
            self.boxes_xyxy[rows], self.scores[rows], self.class_ids[rows], self.names, ids
        )

    def __iter__(self) -> Iterator[Detection]:
        """Yield each box, best score first; ``zip(detections, detections.track_ids)`` has ids."""
        values = zip(
            self.boxes_xyxy,
            self.scores.tolist(),
            self.class_ids.tolist(),
            self.class_names,
            strict=True,
        )
        return (Detection(box.copy(), *rest) for box, *rest in values)

    @property
    def class_names(self) -> list[str]:
        """The class name of each box."""
        return [self.names[i] for i in self.class_ids]

    def draw(self, image: ImageLike, scores: bool = True) -> Image:
        """Draw boxes with class names and scores onto a copy of the image; the best box is on top.

        A box has the colour of its class; with ids, that of its id, which its label begins with.

        Args:
            image: the image of these boxes, in any form that
                :func:`detector.structures.images.to_rgb` takes.
            scores: write scores beside the class names.

        Returns:
            (h, w, 3) uint8 RGB, a new image.
        """
        texts = [
            f"{name} {score:.2f}" if scores else name
            for name, score in zip(self.class_names, self.scores.tolist(), strict=True)
        ]
        numbers = self.class_ids
        if self.track_ids is not None:
            numbers = self.track_ids
            texts = [f"#{i} {text}" for i, text in zip(numbers.tolist(), texts, strict=True)]
        return draw_boxes(to_rgb(image), self.boxes_xyxy, numbers, texts)

    def crops(self, image: ImageLike) -> list[Image]:
        """Crop each box from the image, best score first.

        Args:
            image: the image of these boxes, in any form that :meth:`draw` takes.

        Returns:
            A copy of each box's pixels, (h, w, 3) uint8 RGB: every pixel of the image that the box
            touches, at least one.
        """
        image_rgb = to_rgb(image)
        height, width = image_rgb.shape[:2]
        limits = np.array([width, height])
        starts = np.clip(np.floor(self.boxes_xyxy[:, :2]), 0, limits - 1).astype(int)
        ends = np.clip(np.ceil(self.boxes_xyxy[:, 2:]), starts + 1, limits).astype(int)
        return [
            image_rgb[top:bottom, left:right].copy()
            for (left, top), (right, bottom) in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    def save(self, path: str | Path, size_hw: tuple[int, int] | None = None) -> None:
        """Write the boxes to a file, atomically, in the format of its suffix.

        Args:
            path: ``.json`` as :meth:`to_dict`; ``.csv`` with a line per box, as :meth:`to_pandas`;
                ``.txt`` as :meth:`to_yolo`, with scores.
            size_hw: height and width of the image, pixels; needed for ``.txt``, whose coordinates
                are fractions of them.

        Raises:
            DetectorError: another suffix, no ``size_hw`` or boxes with ids for ``.txt``, or nothing
                can be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            hint = nearest(suffix, SUFFIXES) or f"; expected {', '.join(SUFFIXES)}"
            raise DetectorError(f"no format has the suffix {suffix!r}{hint}", file=path)
        if suffix == ".json":
            write_text(path, f"{self.to_json()}\n")
        elif suffix == ".csv":
            write_text(path, self._to_csv())
        elif size_hw is None:
            raise DetectorError(
                "YOLO's boxes are fractions of the image: give size_hw=(height, width)", file=path
            )
        else:
            write_text(path, self.to_yolo(size_hw))

    def to_pandas(self) -> pandas.DataFrame:
        """Return a row per box: x1, y1, x2, y2 in pixels, score, class_id, class_name, track_id.

        The last column is there with ids only.

        Raises:
            DetectorError: pandas is not installed.
        """
        return require("pandas").DataFrame(self._columns())

    def to_supervision(self) -> supervision.Detections:
        """Return the same boxes for the ``supervision`` library.

        Raises:
            DetectorError: supervision is not installed.
        """
        theirs: supervision.Detections = require("supervision").Detections(
            xyxy=self.boxes_xyxy.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_ids.copy(),
            tracker_id=None if self.track_ids is None else self.track_ids.copy(),
            data={"class_name": np.array(self.class_names, dtype=str)},
        )
        return theirs

    def to_coco(self, image_id: int, category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
        """Return COCO result records; ``bbox`` is x, y, width, height in pixels.

        Records of boxes with ids have a ``track_id``, which COCO's own evaluation ignores.
        """
        boxes_xywh = self.boxes_xyxy.astype(np.float64)
        boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
        records: list[dict[str, Any]] = [
            {
                "image_id": image_id,
                "category_id": category_ids[class_id],
                "bbox": [round(value, 4) for value in box],
                "score": round(score, 6),
            }
            for box, score, class_id in zip(
                boxes_xywh.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True
            )
        ]
        if self.track_ids is not None:
            for record, track_id in zip(records, self.track_ids.tolist(), strict=True):
                record["track_id"] = track_id
        return records

    def to_yolo(self, size_hw: tuple[int, int], with_scores: bool = True) -> str:
        """Return YOLO txt: a line ``class cx cy width height [score]`` per box, in fractions.

        Raises:
            DetectorError: the boxes have ids, for which such a line has no place.
        """
        if self.track_ids is not None:
            raise DetectorError(
                "YOLO's lines have no place for track ids; expected .json or .csv, or the boxes "
                "without ids: dataclasses.replace(detections, track_ids=None)"
            )
        height, width = size_hw
        lines = []
        for box, score, class_id in zip(self.boxes_xyxy, self.scores, self.class_ids, strict=True):
            x1, y1, x2, y2 = (float(value) for value in box)
            values = [
                (x1 + x2) / 2 / width,
                (y1 + y2) / 2 / height,
                (x2 - x1) / width,
                (y2 - y1) / height,
            ]
            values += [float(score)] if with_scores else []
            lines.append(" ".join([str(int(class_id)), *(f"{value:.6f}" for value in values)]))
        return "".join(f"{line}\n" for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, with class names beside the class numbers, and ids if there are."""
        ids = {} if self.track_ids is None else {"track_ids": self.track_ids.tolist()}
        return {
            "boxes_xyxy": [[round(float(v), 3) for v in box] for box in self.boxes_xyxy],
            "scores": [round(float(score), 6) for score in self.scores],
            "class_ids": self.class_ids.tolist(),
            "class_names": self.class_names,
            **ids,
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text.

        Raises:
            DetectorError: a number is not finite, which JSON cannot express.
        """
        try:
            return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise DetectorError("a box or score is not a finite number") from error

    def _columns(self) -> dict[str, Any]:
        """Return the columns of the table of boxes, by name."""
        sides = dict(zip(("x1", "y1", "x2", "y2"), self.boxes_xyxy.T.copy(), strict=True))
        return {
            **sides,
            "score": self.scores.copy(),
            "class_id": self.class_ids.copy(),
            "class_name": self.class_names,
            **({} if self.track_ids is None else {"track_id": self.track_ids.copy()}),
        }

    def _to_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._columns())
        boxes, *columns = self.to_dict().values()
        for box, *rest in zip(boxes, *columns, strict=True):
            writer.writerow([*box, *rest])
        return text.getvalue()


def _as_index(index: Index) -> Any:
    """Return an index that numpy accepts: an empty list, which would be float, becomes int."""
    if isinstance(index, slice) or not np.ndim(index):  # type: ignore[arg-type]
        return index
    array = np.asarray(index)
    return array if array.size else array.astype(bool if array.dtype == bool else int)
