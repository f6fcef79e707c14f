"""Trees of files in docs/my_images.md: each is made on the disk, and read as the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from detector.data.dataset import open_dataset
from detector.utils.opencv import write_image
from tests.docs.pages import ROOT, Block, blocks

TREES = [
    block for block in blocks(ROOT / "docs" / "my_images.md", "") if block.text.startswith("folder")
]
SIDE = 20


def paths(tree: str) -> list[str]:
    """Return the paths of a drawn tree below its first line; folders end in a slash.

    >>> paths("folder/\\n├── a/\\n│   └── b.txt   words\\n└── c.txt\\n")
    ['a/', 'a/b.txt', 'c.txt']
    """
    above: dict[int, str] = {}
    found = []
    for line in tree.splitlines()[1:]:
        drawn, name = re.fullmatch(r"((?:[│ ]   )*)[├└]── (\S+).*", line).groups()  # type: ignore[union-attr]
        depth = len(drawn) // 4
        above[depth] = (above[depth - 1] if depth else "") + name
        found.append(above[depth])
    return found


def image_name(path: Path) -> str:
    return f"{path.stem}.jpg"


def coco(path: Path) -> str:
    """COCO JSON of the one image of a split, whose name the file's name ends with."""
    name = {"train": "0.jpg", "val": "7.jpg"}[path.stem.rpartition("_")[2]]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 10, 10]}
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": name, "width": SIDE, "height": SIDE}],
            "annotations": [{**box, "area": 100, "iscrowd": 0}],
            "categories": [{"id": 1, "name": "cat"}],
        }
    )


def labelme(path: Path) -> str:
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[5, 5], [15, 15]]}
    size = {"imageWidth": SIDE, "imageHeight": SIDE}
    return json.dumps(
        {"version": "5.0.0", "shapes": [shape], "imagePath": image_name(path), **size}
    )


def voc(path: Path) -> str:
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>15</xmax><ymax>15</ymax></bndbox>"
    text = f"<filename>{image_name(path)}</filename>{size}<object><name>cat</name>{box}</object>"
    return f"<annotation>{text}</annotation>"


def text_of(path: Path) -> str:
    """Return a small content for a file, by its name."""
    if path.suffix == ".json":
        return coco(path) if path.stem.startswith("instances") else labelme(path)
    if path.suffix == ".xml":
        return voc(path)
    if path.suffix == ".csv":
        name = {"train": "0.jpg", "val": "7.jpg"}[path.stem.partition("_")[0]]
        return f"filename,xmin,ymin,xmax,ymax,class\nimages/{name},5,5,15,15,cat\n"
    if path.name in ("train.txt", "val.txt"):
        return {"train": "0\n", "val": "7\n"}[path.stem]
    return "cat\n" if path.name == "classes.txt" else "0 0.5 0.5 0.5 0.5\n"


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_tree_is_read(tree: Block, tmp_path: Path) -> None:
    root = tmp_path / "folder"
    for number, name in enumerate(paths(tree.text)):
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jpg":
            write_image(path, np.full((SIDE, SIDE, 3), 20 * number, np.uint8))
        else:
            path.write_text(text_of(path))
    splits = [open_dataset(root, split) for split in ("train", "val")]
    images = len(list(root.rglob("*.jpg")))
    assert sum(map(len, splits)) == images
    for sample in (sample for split in splits for sample in split.samples):
        if splits[0].task == "detect":
            np.testing.assert_allclose(sample.boxes_xyxy, [[5, 5, 15, 15]], atol=1e-4)
    names = ("cat", "dog") if splits[0].task == "classify" else ("cat",)
    assert splits[0].names == names


def test_there_are_trees() -> None:
    assert len(TREES) == 7
