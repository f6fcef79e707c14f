"""Definition of a data set: its root, class names and splits."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, Field

from detector.data.formats import shapes
from detector.data.formats.moved import check_path
from detector.data.formats.shapes import ShapesSettings
from detector.data.formats.written_paths import contents
from detector.settings.values import TaskName
from detector.utils.errors import DetectorError, nearest
from detector.utils.files import exists, is_folder
from detector.utils.yaml_file import Strict

Format = Literal[
    "YOLO txt",
    "COCO JSON",
    "Pascal VOC XML",
    "CSV",
    "VIA JSON",
    "labelme JSON",
    "class folders",
    "class list",
]
CLASS_FORMATS: tuple[Format, ...] = ("class folders", "class list")
"""Formats that give each image one class and no boxes."""

BOX_FORMATS = tuple(name for name in get_args(Format) if name not in CLASS_FORMATS)
"""Formats of boxes."""

KeypointShape = tuple[Annotated[int, Field(ge=1)], Literal[2, 3]]

FORMATS_BY_SUFFIX: dict[str, Format] = {".json": "COCO JSON", ".csv": "CSV"}
"""Formats of annotation files; without such a suffix, ``annotations`` is a folder."""

PATH_KEYS = (
    "images",
    "labels",
    "annotations",
    "image_set",
    "list_file",
    "via",
    "labelme",
    "class_folders",
    "class_list",
)
"""Keys of a place that are paths."""

TRAIN_PART = 0.8
"""Fraction of the images that becomes the train split where no lists exist."""

WrittenPath = Annotated[str, AfterValidator(check_path)]
"""A path of a definition, as it is written."""

PartBound = Annotated[float, Field(ge=0, le=1)]


class Split(Strict):
    """Images and their labels. Paths are absolute or relative to the data set's root.

    The keys determine the format: ``annotations`` is a COCO JSON file, a CSV file of boxes or a
    folder of VOC XML files;
    ``via`` is a file of the VGG Image Annotator, ``labelme`` a folder of labelme's files;
    ``class_folders`` and ``class_list`` give each image one class and no boxes; without any of
    these, the labels are YOLO txt.
    """

    images: WrittenPath | None = Field(None, description="folder of images")
    labels: WrittenPath | None = Field(
        None, description="folder of YOLO txt; default: sibling 'labels'"
    )
    annotations: WrittenPath | None = Field(
        None, description="COCO JSON, CSV, or folder of VOC XML files"
    )
    image_set: WrittenPath | None = Field(
        None, description="VOC list of stems, or folder of XML files"
    )
    list_file: WrittenPath | None = Field(None, description="YOLO list: one image path per line")
    via: WrittenPath | None = Field(None, description="JSON of the VGG Image Annotator")
    via_class: str | None = Field(None, description="VIA: region attribute that is the class")
    labelme: WrittenPath | None = Field(None, description="folder of labelme JSON files")
    class_folders: WrittenPath | None = Field(None, description="folder with a subfolder per class")
    class_list: WrittenPath | None = Field(None, description="list: image path and class per line")
    kpt_shape: KeypointShape | None = Field(
        None, description="YOLO txt: number of keypoints in a row, and 2 or 3 values for each"
    )
    polygons: bool = Field(False, description="YOLO txt: rows of over 5 columns are polygons")
    part: tuple[PartBound, PartBound] = Field(
        (0.0, 1.0), description="start, end of the shuffled images"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of the shuffle")

    @property
    def format(self) -> Format:
        """The label format, determined by the keys that are given."""
        if self.class_folders is not None:
            return "class folders"
        if self.class_list is not None:
            return "class list"
        if self.via is not None:
            return "VIA JSON"
        if self.labelme is not None:
            return "labelme JSON"
        if self.annotations is None:
            return "YOLO txt"
        return FORMATS_BY_SUFFIX.get(Path(self.annotations).suffix.lower(), "Pascal VOC XML")

    def as_yaml(self) -> str:
        """Return the place as it is written in a definition, in one line."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=inf).strip()

    @property
    def task(self) -> TaskName:
        """The task that such labels train a network for."""
        return "classify" if self.format in CLASS_FORMATS else "detect"


class DatasetDefinition(Strict):
    """A data set: its location, class names and splits.

    Attributes:
        source: the file or folder as the user wrote it, for messages.
        root: folder that the splits' paths are relative to.
        names: class names, indexed by the class numbers of labels.
        splits: name → one or several places whose images are merged.
        quickstart: training settings that suit the data set, validated when training starts.
        generate: parameters of the generated data set, which has no files of its own.
        notes: lines to print that say how the definition was interpreted.
        lines: line of each split in the source, if that is a file.
        path_line: line of ``path`` in the source, if it determines the root.
    """

    source: str
    root: Path
    names: tuple[str, ...]
    splits: dict[str, tuple[Split, ...]]
    quickstart: dict[str, Any] = {}
    generate: ShapesSettings | None = None
    notes: tuple[str, ...] = ()
    lines: dict[str, int] = {}
    path_line: int | None = None

    def places(self, split: str, flag: str = "--split") -> tuple[Split, ...]:
        """Return the places of a split.

        Args:
            split: its name.
            flag: the flag that names it, for the error.

        Raises:
            DetectorError: no such split; names those that exist.
        """
        if split not in self.splits:
            hint = nearest(split, self.splits) or f"; it has {self._choices(split, flag)}"
            raise DetectorError(f"no split {split!r}{hint}", file=self.source)
        return self.splits[split]

    def _choices(self, split: str, flag: str) -> str:
        """Return what to do about a missing split: take another one, or divide the only one."""
        names = list(self.splits)
        if len(names) > 1:
            return f"{', '.join(names)}, for example {flag} {names[-1]}"
        place, *others = self.splits[names[0]]
        text = f"{names[0]}: {flag} {names[0]} takes that one"
        if others or place.part != (0.0, 1.0):
            return text
        first, second = (
            place.model_copy(update={"part": part}).as_yaml()
            for part in ((0.0, TRAIN_PART), (TRAIN_PART, 1.0))
        )
        return f"{text}, or a data.yaml divides it: {names[0]}: {first}, {split}: {second}"

    def prepared_root(self) -> Path:
        """Return the root folder, after generating the data set if it is a generated one.

        Raises:
            DetectorError: the folder does not exist.
        """
        if self.generate is not None:
            return shapes.draw_set(self.generate, self.root)
        if not is_folder(self.root):
            beside = "" if self.path_line is None else f"{contents(Path(self.source).parent)}; "
            raise DetectorError(
                f"the folder {self.root} does not exist; {beside}"
                "--data-root DIR sets the data's folder",
                file=self.source,
                line=self.path_line,
            )
        return self.root

    def check_paths(self, split: str) -> None:
        """Raise DetectorError unless the folders and files of a split exist."""
        for place in self.places(split):
            for key in PATH_KEYS:
                value = getattr(place, key)
                if value is not None and not exists(self.root / value):
                    raise DetectorError(
                        f"split {split!r}: {self.root / value} does not exist; "
                        f"{contents(self.root)}",
                        file=self.source,
                        line=self.lines.get(split),
                    )
