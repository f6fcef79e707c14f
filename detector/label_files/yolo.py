"""YOLO txt: a row for each box, class, center x, center y, width, height, in fractions."""

from __future__ import annotations

import numpy as np

from detector.label_files.labeled_image import FRACTION_PLACES, LabeledImage, decimal
from detector.label_files.writer import FolderWriter


class YoloWriter(FolderWriter):
    """Writer of YOLO txt. Class names are not in the files: the definition has them."""

    title = "YOLO txt"
    suffix = ".txt"

    def text(self, image: LabeledImage) -> str:
        """Return a row for each box; no row for an image without objects."""
        height, width = image.size_hw
        corners = image.corners() / np.array([width, height, width, height])
        centers, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        rows = np.concatenate([centers, sizes], axis=1).tolist()
        texts = (" ".join(decimal(value, FRACTION_PLACES) for value in row) for row in rows)
        return "".join(
            f"{class_id} {text}\n"
            for class_id, text in zip(image.class_ids.tolist(), texts, strict=True)
        )
