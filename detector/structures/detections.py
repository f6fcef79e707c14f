"""What a detector found in one image, and its conversions to the formats of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True)
class Detections:
    """Boxes of one image, best score first.

    Attributes:
        boxes_xyxy: (n, 4) float32, pixels of the original image.
        scores: (n,) float32 in 0..1, descending.
        class_ids: (n,) int64, indices into ``names``.
        names: all class names of the model.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    names: tuple[str, ...]

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

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> Detections:
        """No box at all."""
        return cls(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), names
        )

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def found(self) -> list[str]:
        """The class name of each box."""
        return [self.names[i] for i in self.class_ids]

    def filter(self, mask: NDArray[np.bool_]) -> Detections:
        """Only those boxes whose mask, (n,) bool, is true."""
        return Detections(
            self.boxes_xyxy[mask], self.scores[mask], self.class_ids[mask], self.names
        )

    def to_supervision(self) -> supervision.Detections:
        """The same boxes for the ``supervision`` library, which has to be installed."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes_xyxy.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_ids.copy(),
            data={"class_name": np.array(self.found, dtype=str)},
        )

    def to_coco(self, image_id: int, category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
        """COCO results: ``bbox`` is x, y, width, height in pixels."""
        boxes_xywh = self.boxes_xyxy.astype(np.float64)
        boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
        return [
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

    def to_yolo(self, size_hw: tuple[int, int], with_scores: bool = True) -> str:
        """YOLO txt: one ``class cx cy width height [score]`` a line, as fractions of the image."""
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

    def to_json(self) -> dict[str, Any]:
        """Plain lists, with the class names spelt out."""
        return {
            "boxes_xyxy": [[round(float(v), 3) for v in box] for box in self.boxes_xyxy],
            "scores": [round(float(score), 6) for score in self.scores],
            "class_ids": self.class_ids.tolist(),
            "class_names": self.found,
        }
