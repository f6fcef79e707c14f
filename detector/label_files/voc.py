"""Pascal VOC XML: a file for each image.

Boxes are written as the readers of this package use them: corners in pixels from 0, without adding
1, and with decimals. Tools that parse corners as whole numbers must round them.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from detector.label_files.labeled_image import LabeledImage, decimal
from detector.label_files.writer import FolderWriter
from detector.label_files.xml_text import xml_issue, xml_text

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocWriter(FolderWriter):
    """Writer of Pascal VOC XML."""

    title = "Pascal VOC XML"
    suffix = ".xml"
    holds = frozenset(("difficult",))

    @classmethod
    def name_issue(cls, name: str) -> str | None:
        """Return what XML cannot hold: control characters, and spaces at the ends."""
        return super().name_issue(name) or xml_issue(name) or space_issue(name)

    def text(self, image: LabeledImage) -> str:
        """Return the XML of an image."""
        height, width = image.size_hw
        # The file belongs to its image by its own name; this one is for people.
        name = PurePosixPath(image.name).name.encode(errors="replace").decode()
        lines = [
            "<annotation>",
            f"  <filename>{'' if xml_issue(name) else xml_text(name)}</filename>",
            f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
            "  <segmented>0</segmented>",
        ]
        rows = zip(
            image.corners().tolist(),
            image.class_ids.tolist(),
            image.difficult.tolist(),
            strict=True,
        )
        for corners, class_id, difficult in rows:
            sides = "".join(
                f"<{side}>{decimal(value)}</{side}>"
                for side, value in zip(CORNERS, corners, strict=True)
            )
            lines += [
                "  <object>",
                f"    <name>{xml_text(self.names[class_id])}</name>",
                "    <pose>Unspecified</pose>",
                "    <truncated>0</truncated>",
                f"    <difficult>{int(difficult)}</difficult>",
                f"    <bndbox>{sides}</bndbox>",
                "  </object>",
            ]
        return "\n".join([*lines, "</annotation>", ""])


def space_issue(name: str) -> str | None:
    """Return that a name begins or ends with a space, which readers strip, or None."""
    return None if name == name.strip() else "begins or ends with a space"
