"""CVAT's XML 1.1 for images: one file with the boxes of all images.

Format: https://docs.cvat.ai/docs/other/xml_format (``image`` with id, name, width and height;
``box`` with label, xtl, ytl, xbr, ybr, occluded, z_order; ``source`` is manual or auto). The format
has no place for scores.
"""

from __future__ import annotations

from detector.label_files.labeled_image import LabeledImage, decimal
from detector.label_files.writer import FileWriter, check_image_name
from detector.label_files.xml_text import xml_attribute, xml_issue, xml_text
from detector.utils.errors import DetectorError

SIDES = ("xtl", "ytl", "xbr", "ybr")


class CvatWriter(FileWriter):
    """Writer of CVAT's XML."""

    title = "CVAT XML"

    @classmethod
    def name_issue(cls, name: str) -> str | None:
        """Return what XML cannot hold."""
        return super().name_issue(name) or xml_issue(name)

    def head(self) -> str:
        """Return the labels of the task."""
        labels = "".join(
            f"        <label><name>{xml_text(name)}</name><attributes></attributes></label>\n"
            for name in self.names
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta>\n    <task>\n      <mode>annotation</mode>\n      <labels>\n{labels}"
            "      </labels>\n    </task>\n  </meta>\n"
        )

    def tail(self) -> None:
        """Write the end of the file."""
        self.put("</annotations>\n")

    def write(self, image: LabeledImage) -> None:
        """Write an image with its boxes."""
        height, width = image.size_hw
        name = check_image_name(image.name, self.title)
        issue = xml_issue(name)
        if issue is not None:
            raise DetectorError(f"its name {issue}, which {self.title} cannot hold", file=name)
        boxes = []
        for corners, class_id in zip(
            image.corners().tolist(), image.class_ids.tolist(), strict=True
        ):
            pairs = zip(SIDES, map(decimal, corners), strict=True)
            sides = " ".join(f'{side}="{value}"' for side, value in pairs)
            label = xml_attribute(self.names[class_id])
            boxes.append(
                f'    <box label={label} {sides} occluded="0" z_order="0" source="auto"></box>\n'
            )
        self.put(
            f'  <image id="{image.image_id - 1}" name={xml_attribute(name)} width="{width}" '
            f'height="{height}">\n{"".join(boxes)}  </image>\n'
        )
