"""Label Studio's JSON of tasks with predictions, for labels that people then correct.

Format: https://labelstud.io/guide/predictions (``data``, ``predictions``, ``result``; each id
occurs once) and https://labelstud.io/tags/rectanglelabels (``x``, ``y``, ``width`` and ``height``
are percentages of the image). Images are named as Label Studio's local storage serves them
(https://labelstud.io/guide/storage#Local-storage): ``/data/local-files/?d=PATH``, with PATH below
the server's LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from detector.label_files.labeled_image import FRACTION_PLACES, LabeledImage, shortest
from detector.label_files.writer import FileWriter
from detector.label_files.xml_text import xml_attribute, xml_issue

FROM_NAME, TO_NAME = "label", "image"
"""Names of the two tags of the labeling configuration that results refer to."""

URL = "/data/local-files/?d="


class LabelStudioWriter(FileWriter):
    """Writer of Label Studio's tasks.

    Args:
        path: the file.
        names: class names.
        model: name of the model, shown beside its predictions.
        synced: see :class:`LabelWriter`.
    """

    title = "Label Studio JSON"

    def __init__(
        self, path: Path, names: Sequence[str], model: str = "", *, synced: bool = True
    ) -> None:
        super().__init__(path, names, synced=synced)
        self.model = model
        self._tasks = 0

    @classmethod
    def name_issue(cls, name: str) -> str | None:
        """Return what the labeling configuration, which is XML, cannot hold."""
        return super().name_issue(name) or xml_issue(name)

    def head(self) -> str:
        """Return the beginning of the list of tasks."""
        return "["

    def tail(self) -> None:
        """Write the end of the list."""
        self.put("\n]\n")

    def write(self, image: LabeledImage) -> None:
        """Write a task with one prediction."""
        result = self._result(image)
        prediction: dict[str, Any] = {"model_version": self.model, "result": result}
        if image.scores is not None and result:  # by which tasks can be sorted
            prediction["score"] = round(float(image.scores.mean(dtype=np.float64)), 6)
        url = URL + quote(image.name, safe="/", errors="surrogateescape")
        task = {"id": image.image_id, "data": {TO_NAME: url}, "predictions": [prediction]}
        text = json.dumps(task, ensure_ascii=False, allow_nan=False)
        self.put(f"{',' if self._tasks else ''}\n{text}")
        self._tasks += 1

    def _result(self, image: LabeledImage) -> list[dict[str, Any]]:
        height, width = image.size_hw
        corners = image.corners() * (100 / np.array([width, height, width, height]))
        sizes = corners[:, 2:] - corners[:, :2]
        rows = np.round(
            np.concatenate([corners[:, :2], sizes], axis=1), FRACTION_PLACES - 2
        ).tolist()
        scores = [None] * len(rows) if image.scores is None else shortest(image.scores).tolist()
        return [
            {
                "id": f"{image.image_id}-{number}",
                "type": "rectanglelabels",
                "from_name": FROM_NAME,
                "to_name": TO_NAME,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "x": x,
                    "y": y,
                    "width": w,
                    "height": h,
                    "rotation": 0,
                    "rectanglelabels": [self.names[class_id]],
                },
                **({} if score is None else {"score": score}),
            }
            for number, ((x, y, w, h), class_id, score) in enumerate(
                zip(rows, image.class_ids.tolist(), scores, strict=True), 1
            )
        ]


def labeling_config(names: Sequence[str]) -> str:
    """Return the labeling configuration of a project that shows the tasks, as XML."""
    labels = "".join(f"    <Label value={xml_attribute(name)}/>\n" for name in names)
    return (
        "<View>\n"
        f'  <Image name="{TO_NAME}" value="${TO_NAME}"/>\n'
        f'  <RectangleLabels name="{FROM_NAME}" toName="{TO_NAME}">\n'
        f"{labels}"
        "  </RectangleLabels>\n"
        "</View>\n"
    )
