"""Definition of a data set: its root, class names and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from detector.data.formats import shapes
from detector.data.formats.shapes import ShapesSettings
from detector.data.formats.written_paths import contents
from detector.settings import TaskName
from detector.utils.errors import DetectorError, nearest
from detector.utils.files import exists, is_folder
from detector.utils.yaml_file import Strict

Format = Literal["YOLO txt", "COCO JSON", "Pascal VOC XML", "class folders", "class list"]
KeypointShape = tuple[Annotated[int, Field(ge=1)], Literal[2, 3]]

PATH_KEYS = (
    "images",
    "labels",
    "annotations",
    "image_set",
    "list_file",
    "class_folders",
    "class_list",
)
"""Keys of a place that are paths."""

PartBound = Annotated[float, Field(ge=0, le=1)]


class Split(Strict):
    """Images and their labels. Paths are absolute or relative to the data set's root.

    The keys determine the format: ``annotations`` is a COCO JSON file or a folder of VOC XML files;
    ``class_folders`` and ``class_list`` give each image one class and no boxes; without any of
    these, the labels are YOLO txt.
    """

    images: str | None = Field(None, description="folder of images")
    labels: str | None = Field(None, description="folder of YOLO txt; default: sibling 'labels'")
    annotations: str | None = Field(None, description="COCO JSON, or folder of VOC XML files")
    image_set: str | None = Field(None, description="VOC list: one stem per line")
    list_file: str | None = Field(None, description="YOLO list: one image path per line")
    class_folders: str | None = Field(None, description="folder with a subfolder per class")
    class_list: str | None = Field(None, description="list: image path and class per line")
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
        if self.annotations is None:
            return "YOLO txt"
        return "COCO JSON" if self.annotations.endswith(".json") else "Pascal VOC XML"

    @property
    def task(self) -> TaskName:
        """The task that such labels train a network for."""
        return "classify" if self.format in ("class folders", "class list") else "detect"


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

    def places(self, split: str) -> tuple[Split, ...]:
        """Return the places of a split.

        Raises:
            DetectorError: no such split; names those that exist.
        """
        if split not in self.splits:
            hint = nearest(split, self.splits) or f"; it has {', '.join(self.splits)}"
            raise DetectorError(f"no split {split!r}{hint}", file=self.source)
        return self.splits[split]

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
