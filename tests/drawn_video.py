"""A drawn video of moving objects whose ways cross, with its ground truth, and a noisy detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame
from detector.structures.detections import Detections
from detector.utils.opencv import Image, cv2

SIZE_HW = (480, 640)
NAMES = ("circle", "square")
FPS = 30.0


@dataclass(frozen=True)
class DrawnVideo:
    """Objects that move on straight ways and are thrown back by the borders.

    Attributes:
        boxes_xyxy: (frames, objects, 4) float32, pixels.
        class_ids: (objects,).
    """

    boxes_xyxy: np.ndarray
    class_ids: np.ndarray

    @classmethod
    def make(cls, frames: int = 200, objects: int = 20, seed: int = 0) -> DrawnVideo:
        rng = np.random.default_rng(seed)
        sizes = rng.integers(28, 48, (objects, 2))
        room = np.array([SIZE_HW[1], SIZE_HW[0]]) - sizes
        starts = rng.uniform(0, 1, (objects, 2)) * room
        angles, speeds = rng.uniform(0, 2 * np.pi, objects), rng.uniform(2, 5, objects)
        steps = np.stack((np.cos(angles), np.sin(angles)), 1) * speeds[:, None]
        far = starts + steps * np.arange(frames)[:, None, None]
        folded = np.abs((far + room) % (2 * room) - room)  # a triangle wave: there and back
        boxes = np.concatenate((folded, folded + sizes), 2).astype(np.float32)
        return cls(boxes, rng.integers(0, 2, objects))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def crossings(self, iou: float = 0.3) -> int:
        """How often two objects come to overlap by more than an IoU."""
        first, second = np.triu_indices(self.boxes_xyxy.shape[1], 1)
        a, b = self.boxes_xyxy[:, first], self.boxes_xyxy[:, second]
        sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
        shared = np.prod(np.maximum(sides, 0), -1)
        area = [np.prod(x[..., 2:] - x[..., :2], -1) for x in (a, b)]
        close = shared / (area[0] + area[1] - shared) > iou
        return int((np.diff(close.astype(int), axis=0) == 1).sum())

    def images(self) -> Iterator[Image]:
        """Frames, in which later objects lie on top of earlier ones."""
        rng = np.random.default_rng(1)
        background = cv2.resize(rng.integers(60, 120, (12, 16, 3)).astype(np.uint8), SIZE_HW[::-1])
        colours = rng.integers(120, 256, (self.boxes_xyxy.shape[1], 3)).tolist()
        for boxes in self.boxes_xyxy.round().astype(int).tolist():
            image = background.copy()
            for (x1, y1, x2, y2), class_id, colour in zip(
                boxes, self.class_ids, colours, strict=True
            ):
                if class_id:
                    cv2.rectangle(image, (x1, y1), (x2, y2), colour, cv2.FILLED)
                else:
                    centre, half = (
                        ((x1 + x2) // 2, (y1 + y2) // 2),
                        ((x2 - x1) // 2, (y2 - y1) // 2),
                    )
                    cv2.ellipse(image, centre, half, 0, 0, 360, colour, cv2.FILLED)
            yield image

    def results(
        self, seed: int = 0, noise: float = 1.0, missed: float = 0.05, low: float = 0.1
    ) -> Iterator[Result]:
        """What a detector would give: boxes with noise, some with low scores, some missing.

        Args:
            seed: of what follows.
            noise: standard deviation of each side, pixels.
            missed: share of the boxes that are not found.
            low: share of the boxes whose score is 0.1 to 0.25, below the default --confidence.
        """
        rng = np.random.default_rng(seed)
        for number, (image, boxes) in enumerate(zip(self.images(), self.boxes_xyxy, strict=True)):
            found = boxes + rng.normal(0, noise, boxes.shape).astype(np.float32)
            weak = rng.random(len(boxes)) < low
            scores = np.where(
                weak, rng.uniform(0.1, 0.25, len(boxes)), rng.uniform(0.5, 0.95, len(boxes))
            )
            order = np.argsort(-scores, kind="stable")
            order = order[rng.random(len(boxes)) >= missed]
            detections = Detections(
                found[order], scores[order].astype(np.float32), self.class_ids[order], NAMES
            )
            yield Result(Frame("drawn", None, number, image, FPS), detections)

    def write(self, path: Path) -> Path:
        """Write the frames as a video."""
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        encoder = cv2.VideoWriter(str(path), codec, FPS, SIZE_HW[::-1])
        for image in self.images():
            encoder.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        encoder.release()
        return path

    def write_ground_truth(self, path: Path) -> Path:
        """Write the boxes in MOT's format: ids from 1, class 1, which its rules count."""
        lines = [
            f"{frame + 1},{number + 1},{x1:.3f},{y1:.3f},{x2 - x1:.3f},{y2 - y1:.3f},1,1,1\n"
            for frame, boxes in enumerate(self.boxes_xyxy.tolist())
            for number, (x1, y1, x2, y2) in enumerate(boxes)
        ]
        path.write_text("".join(lines))
        return path
