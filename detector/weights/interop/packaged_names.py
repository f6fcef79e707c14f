"""Class names of VOC and COCO, for weights that hold none: their number of classes tells."""

from __future__ import annotations

from detector.utils.files import find_file
from detector.utils.yaml_file import read_yaml

COCO_CLASSES = 80


def packaged_names(data: str) -> tuple[str, ...]:
    """Read the class names of a packaged data set definition, without opening the data set."""
    file = read_yaml(find_file(data, "datasets"))
    names = file.value["names"]
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    return tuple(str(file.as_written(name, "names", key)) for key, name in pairs)


def coco_names(classes: int) -> tuple[str, ...]:
    """Return COCO's class names if there are 80 classes, else nothing."""
    return packaged_names("coco") if classes == COCO_CLASSES else ()
