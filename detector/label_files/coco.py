"""COCO JSON: one file with lists of images, annotations and categories."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detector.label_files.labeled_image import PIXEL_PLACES, LabeledImage, shortest
from detector.label_files.writer import FileWriter
from detector.utils.errors import DetectorError, shown

COPY_CHARACTERS = 1 << 20
"""Length of the pieces in which annotations are copied to the end of the file."""


class CocoWriter(FileWriter):
    r"""Writer of COCO JSON.

    The annotations of all images follow the images in the file; until then they lie in a temporary
    file. Bytes of file names that are not UTF-8 are written in JSON's own form, such as ``\udce9``.

    Args:
        path: the file.
        names: class names.
        category_ids: id of each category; default: 1, 2, 3, …
        category_records: further keys of each category, such as ``supercategory``.
        top: further keys of the file, such as ``info`` and ``licenses``.
        synced: see :class:`LabelWriter`.
    """

    title = "COCO JSON"
    holds = frozenset(("crowd", "difficult", "areas"))
    encoding_errors = "backslashreplace"

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        category_records: Sequence[Mapping[str, Any]] = (),
        top: Mapping[str, Any] | None = None,
        *,
        synced: bool = True,
    ) -> None:
        super().__init__(path, names, synced=synced)
        self.category_ids = tuple(category_ids or range(1, len(names) + 1))
        self._records = category_records or [{}] * len(names)
        self._top = top or {}
        self._images = self._annotations = 0

    def open(self) -> None:
        """Begin the file and that of its annotations."""
        super().open()
        self._later = self._stack.enter_context(
            tempfile.TemporaryFile(  # noqa: SIM115
                "w+", encoding="utf-8", newline="", dir=self.path.parent
            )
        )

    def head(self) -> str:
        """Return the categories and the beginning of the list of images."""
        categories = [
            {**record, "id": category_id, "name": name}
            for category_id, name, record in zip(
                self.category_ids, self.names, self._records, strict=True
            )
        ]
        top = {**self._top, "categories": categories}
        items = [f"{_json(key)}: {_json(value)},\n" for key, value in top.items()]
        return "".join(["{", *items, '"images": ['])

    def write(self, image: LabeledImage) -> None:
        """Write an image, and keep its annotations for the end of the file."""
        height, width = image.size_hw
        record = {
            **image.record,
            "id": image.image_id,
            "file_name": image.name,
            "height": height,
            "width": width,
        }
        self.put(f"{',' if self._images else ''}\n{_json(record)}")
        self._images += 1
        for annotation in self._of(image):
            self._annotations += 1
            comma = "," if self._annotations > 1 else ""
            text = _json({"id": self._annotations, **annotation})
            self.put(f"{comma}\n{text}", self._later)

    def tail(self) -> None:
        """Write the annotations."""
        self.put('\n],\n"annotations": [')
        self._later.seek(0)
        while text := self._later.read(COPY_CHARACTERS):
            self.put(text)
        self.put("\n]}\n")

    def _of(self, image: LabeledImage) -> list[dict[str, Any]]:
        """Return the annotations of an image, without ids."""
        corners = image.corners()
        sizes = np.round(corners[:, 2:] - corners[:, :2], PIXEL_PLACES)
        areas = sizes.prod(axis=1) if image.areas is None else shortest(image.areas)
        optional: dict[str, list[Any]] = {"difficult": image.difficult.astype(int).tolist()}
        if image.scores is not None:
            optional["score"] = shortest(image.scores).tolist()
        return [
            {
                "image_id": image.image_id,
                "category_id": self.category_ids[class_id],
                "bbox": [*corners[i, :2].tolist(), *sizes[i].tolist()],
                "area": float(areas[i]),
                "iscrowd": int(image.crowd[i]),
                **{key: values[i] for key, values in optional.items() if values[i]},
            }
            for i, class_id in enumerate(image.class_ids.tolist())
        ]


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        message = f"{shown(value)} has a number that is not finite, which JSON cannot hold"
        raise DetectorError(message) from error
