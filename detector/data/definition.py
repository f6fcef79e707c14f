"""Which images and labels a data set has: ``datasets/*.yaml``, or a bare folder, understood."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from detector.config import Strict, YamlFile, find_file, read_yaml, validate
from detector.data import shapes
from detector.data.names import check_names
from detector.data.readers import coco, voc, yolo
from detector.data.readers.rows import IMAGE_SUFFIXES, image_files
from detector.data.shapes import CACHE_FOLDER, ShapesSettings
from detector.errors import DetectorError, nearest

SPLIT_KEY = re.compile(r"(train|val|test)\w*")
"""Names that are splits at the top of a file, as YOLO's files have them; others go in splits:."""

SPLIT_FOLDER = re.compile(r"(train|val|valid|validation|test)[-_]?\d*", re.IGNORECASE)
GUESSED_SPLITS = ("train", "val", "test")
DEFINITION_NAMES = ("data.yaml", "dataset.yaml")
TRAIN_PART = 0.8
GUESS_SEED = 0

Fraction = Annotated[float, Field(ge=0, le=1)]


class Split(Strict):
    """Images and their labels. Paths are absolute or relative to the data set's root.

    What is given says the format: ``annotations`` is a COCO JSON file or a folder of VOC XML
    files; without it the labels are YOLO txt.
    """

    images: str | None = Field(None, description="folder of images")
    labels: str | None = Field(None, description="folder of YOLO txt; default: sibling 'labels'")
    annotations: str | None = Field(None, description="COCO JSON, or folder of VOC XML files")
    image_set: str | None = Field(None, description="VOC list: one stem a line")
    list_file: str | None = Field(None, description="YOLO list: one image path a line")
    part: tuple[Fraction, Fraction] = Field((0.0, 1.0), description="from, to, of shuffled images")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of that shuffle")

    @property
    def format(self) -> Literal["YOLO txt", "COCO JSON", "Pascal VOC XML"]:
        """The label format."""
        if self.annotations is None:
            return "YOLO txt"
        return "COCO JSON" if self.annotations.endswith(".json") else "Pascal VOC XML"


class DatasetDefinition(Strict):
    """A data set: where it lies, its class names, its splits.

    Attributes:
        source: what the person gave, for messages.
        root: folder that the splits' paths are relative to.
        names: class names; labels' numbers are indices into them.
        splits: name → one or several places whose images are taken together.
        quickstart: training settings that suit the set; checked by the training settings.
        generate: parameters of a drawn set, which has no files of its own.
        notes: what was understood, for printing.
    """

    source: str
    root: Path
    names: tuple[str, ...]
    splits: dict[str, tuple[Split, ...]]
    quickstart: dict[str, Any] = {}
    generate: ShapesSettings | None = None
    notes: tuple[str, ...] = ()

    def places(self, split: str) -> tuple[Split, ...]:
        """The places of a split.

        Raises:
            DetectorError: no such split; names the ones there are.
        """
        if split not in self.splits:
            hint = nearest(split, self.splits) or f"; it has {', '.join(self.splits)}"
            raise DetectorError(f"no split {split!r}{hint}", file=self.source)
        return self.splits[split]

    def prepared_root(self) -> Path:
        """The root folder, drawn first if the set is a drawn one.

        Raises:
            DetectorError: the folder does not exist.
        """
        if self.generate is not None:
            return shapes.draw_set(self.generate, self.root)
        if not self.root.is_dir():
            raise DetectorError(
                f"the folder {self.root} does not exist; --data-root DIR says where the data lie",
                file=self.source,
            )
        return self.root


def load_definition(data: str | Path, data_root: Path | None = None) -> DatasetDefinition:
    """Understand ``--data``: a definition file, a shipped definition's name, or a bare folder.

    Args:
        data: ``datasets/x.yaml``, ``x``, or a folder.
        data_root: takes the place of the definition's ``path``.

    Raises:
        DetectorError: nothing of that name; a wrong definition, with file and line; a folder
            whose layout is not known.
    """
    folder = Path(data)
    if not folder.is_dir():
        return _from_file(read_yaml(find_file(data, "datasets")), data_root)
    for name in DEFINITION_NAMES:
        if (folder / name).is_file():
            return _from_file(read_yaml(folder / name), data_root)
    return _guess(data_root or folder, str(data))


# --------------------------------------------------------------------------------- definition file


class _File(Strict):
    """The keys of a definition file, apart from its splits."""

    path: str | None = None
    names: Any = None
    nc: int | None = None
    splits: dict[str, Any] = {}
    quickstart: dict[str, Any] = {}
    generate: Any = None
    # Other projects' files have these; neither is acted upon.
    download: Any = None
    roboflow: Any = None


def _from_file(file: YamlFile, data_root: Path | None) -> DatasetDefinition:
    content = file.value if isinstance(file.value, dict) else {}
    tops = {k: v for k, v in content.items() if isinstance(k, str) and SPLIT_KEY.fullmatch(k)}
    others = {key: value for key, value in content.items() if key not in tops}
    keys = validate(_File, file, others if content else None)
    generate = _generated(file, keys)
    root = _root(file.path, keys, data_root)
    splits = _generated_splits(generate)
    splits |= {key: _places(file, value, root, "splits", key) for key, value in keys.splits.items()}
    splits |= {key: _places(file, value, root, key) for key, value in tops.items()}
    splits = {key: places for key, places in splits.items() if places}
    if not splits:
        raise file.error("no split, expected train, val or others")
    notes = ["'download' is not acted upon: nothing is fetched"] if keys.download else []
    names = _file_names(file, keys) or (None if generate is None else shapes.CLASSES)
    if names is None:
        names, note = _found_names(root, splits, file.path)
        notes.append(note)
    return DatasetDefinition(
        source=str(file.path),
        root=root,
        names=names,
        splits=splits,
        quickstart=keys.quickstart,
        generate=generate,
        notes=tuple(notes),
    )


def _root(file: Path, keys: _File, data_root: Path | None) -> Path:
    if data_root is not None:
        return data_root
    if keys.generate is not None:
        return CACHE_FOLDER if keys.path is None else file.parent / keys.path
    return file.parent / (keys.path or "")


def _generated(file: YamlFile, keys: _File) -> ShapesSettings | None:
    """Parameters of a drawn set: a mapping, or just its name."""
    if keys.generate is None:
        return None
    value = {"name": keys.generate} if isinstance(keys.generate, str) else keys.generate
    return validate(ShapesSettings, file, value, ("generate",))


def _generated_splits(generate: ShapesSettings | None) -> dict[str, tuple[Split, ...]]:
    names = [] if generate is None else list(generate.images)
    return {name: (Split(images=f"images/{name}"),) for name in names}


def _places(file: YamlFile, value: Any, root: Path, *keys: str) -> tuple[Split, ...]:
    """The places of one split: a path, a mapping, or a list of those; none for an empty value."""
    if value is None or value == "":
        return ()  # people's files have "test:" with nothing behind it
    if isinstance(value, list):
        return tuple(_place(file, item, root, *keys, i) for i, item in enumerate(value))
    return (_place(file, value, root, *keys),)


def _place(file: YamlFile, value: Any, root: Path, *keys: str | int) -> Split:
    if isinstance(value, str):
        path = _existing(value, root)
        is_list = value.endswith(".txt")
        return Split(list_file=path) if is_list else Split(images=path)
    place = validate(Split, file, value, keys)
    if place.part[0] >= place.part[1]:
        raise file.error(f"part: expected from < to, found {list(place.part)}", *keys, "part")
    if place.image_set is not None and place.format != "Pascal VOC XML":
        raise file.error("image_set goes with annotations, a folder of XML files", *keys)
    if place.list_file is not None and place.annotations is not None:
        raise file.error("list_file is of YOLO txt, annotations of other formats", *keys)
    if place.images is None and (place.list_file is None and place.annotations is None):
        raise file.error("expected images, list_file or annotations", *keys)
    return place


def _existing(value: str, root: Path) -> str:
    """Roboflow writes ``../train/images`` for a folder that lies beside the file."""
    if value.startswith("../") and not (root / value).exists() and (root / value[3:]).exists():
        return value[3:]
    return value


def _file_names(file: YamlFile, keys: _File) -> tuple[str, ...] | None:
    """The names that a definition gives, as a list or as a mapping without holes."""
    if keys.names is None:
        return None
    values = keys.names
    if isinstance(values, dict):
        missing = next((i for i in range(len(values)) if i not in values), None)
        if missing is not None:
            raise file.error(f"names: number {missing} is missing, expected 0, 1, 2, …", "names")
        values = [values[i] for i in range(len(values))]
    if not isinstance(values, list):
        raise file.error(f"names: expected a list or a mapping, found {values!r}", "names")
    try:
        names = check_names(values)
    except DetectorError as error:
        raise file.error(f"names: {error.message}", "names") from error
    if keys.nc is not None and keys.nc != len(names):
        raise file.error(f"nc is {keys.nc}, but there are {len(names)} names", "nc")
    if keys.generate is not None and names != shapes.CLASSES:
        raise file.error(f"names: a drawn set has {', '.join(shapes.CLASSES)}", "names")
    return names


# ------------------------------------------------------------------------------------- bare folder


def _guess(root: Path, source: str) -> DatasetDefinition:
    splits = _coco_layout(root)
    if splits and "train" not in splits:
        splits = {**_yolo_layout(root), **splits}
    splits = splits or _yolo_layout(root) or _voc_layout(root)
    if not splits:
        raise DetectorError(
            "neither a data.yaml nor a known layout in this folder, expected images/ and labels/, "
            "annotations/*.json, or XML files",
            file=source,
        )
    names, note = _found_names(root, splits, Path(source))
    notes = [f"{source}: {split}: {places[0].format}" for split, places in splits.items()]
    if any(place.part != (0.0, 1.0) for places in splits.values() for place in places):
        notes.append(
            f"no lists: {TRAIN_PART:.0%} of the images, shuffled with seed {GUESS_SEED}, are "
            "train, the others val"
        )
    return DatasetDefinition(
        source=source, root=root, names=names, splits=splits, notes=(*notes, note)
    )


def _coco_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """``annotations/*.json`` beside image folders, or a JSON file in each split's folder."""
    files = sorted(root.glob("annotations/*.json")) or sorted(root.glob("*/*.json"))
    files = [file for file in files if file.stem.startswith("instances_")] or files
    splits: dict[str, tuple[Split, ...]] = {}
    for file in files:
        stem = file.stem.removeprefix("instances_")
        words = (stem, stem.split("_")[0], file.parent.name)
        name = next((name for word in words if (name := _split_name(word))), stem)
        images = _folder_of_images(root, file)
        if images is not None:
            place = Split(annotations=_relative(file, root), images=_relative(images, root))
            splits[stem if name in splits else name] = (place,)
    return splits


def _folder_of_images(root: Path, file: Path) -> Path | None:
    """The folder that holds the first image of an annotation file."""
    try:
        content = coco.read_file(file)
    except DetectorError:
        return None  # captions, key points, or no annotation file at all
    if not content.images:
        return None
    first = content.images[0]["file_name"]
    folders = [file.parent, root, *sorted(p for p in root.glob("*") if p.is_dir())]
    folders += sorted(path for path in root.glob("*/*") if path.is_dir())
    return next((folder for folder in folders if (folder / first).is_file()), None)


def _yolo_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """``images/train``, ``train/images`` or lists; else the whole of ``images/``, split."""
    if not any(root.glob("labels")) and not any(root.glob("*/labels")):
        return {}
    lists = {name: root / f"{name}.txt" for name in GUESSED_SPLITS}
    if lists["train"].is_file():
        return {n: (Split(list_file=p.name),) for n, p in lists.items() if p.is_file()}
    folders = [*root.glob("images/*"), *(path.parent for path in root.glob("*/images"))]
    splits = _named_folders(root, folders)
    for name, (place,) in splits.items():
        if (root / str(place.images) / "images").is_dir():
            splits[name] = (Split(images=f"{place.images}/images"),)
    if splits or not (root / "images").is_dir():
        return splits
    return _seeded_split(Split(images="images"))


def _voc_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """VOC's folders with image-set lists; folders of each split; else all XML files, split."""
    if next(root.rglob("*.xml"), None) is None:
        return {}
    images, annotations = (
        name if (root / name).is_dir() else "." for name in ("JPEGImages", "Annotations")
    )
    splits: dict[str, tuple[Split, ...]] = {}
    for name in (*GUESSED_SPLITS, "trainval"):
        image_set = f"ImageSets/Main/{name}.txt"
        if (root / image_set).is_file():
            place = Split(images=images, annotations=annotations, image_set=image_set)
            splits[name] = (place,)
    if splits:
        return splits
    with_xml = [path for path in root.glob("*") if next(path.rglob("*.xml"), None) is not None]
    named = _named_folders(root, with_xml)
    if named:
        for name, (place,) in named.items():
            named[name] = (place.model_copy(update={"annotations": place.images}),)
        return named
    return _seeded_split(Split(images=images, annotations=annotations))


def _named_folders(root: Path, folders: Sequence[Path]) -> dict[str, tuple[Split, ...]]:
    """Folders whose names are those of splits, in the usual order."""
    found: dict[str, tuple[Split, ...]] = {}
    for folder in sorted(folders):
        name = _split_name(folder.name)
        if name and folder.is_dir() and _has_image(folder):
            found.setdefault(name, (Split(images=_relative(folder, root)),))
    return {name: found[name] for name in GUESSED_SPLITS if name in found}


def _seeded_split(place: Split) -> dict[str, tuple[Split, ...]]:
    parts = {"train": (0.0, TRAIN_PART), "val": (TRAIN_PART, 1.0)}
    update = {"seed": GUESS_SEED}
    return {n: (place.model_copy(update={**update, "part": p}),) for n, p in parts.items()}


def _split_name(word: str) -> str | None:
    """``valid`` and ``val2017`` are val; None for what is no split's name."""
    match = SPLIT_FOLDER.fullmatch(word)
    if match is None:
        return None
    name = match[1].lower()
    return "val" if name.startswith("val") else name


def _has_image(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*"))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


# ------------------------------------------------------------------------------------------- names


def _found_names(
    root: Path, splits: dict[str, tuple[Split, ...]], source: Path
) -> tuple[tuple[str, ...], str]:
    """Class names where no definition gives them, and a line that says where they are from."""
    places = [place for group in splits.values() for place in group]
    json = next((place.annotations for place in places if place.format == "COCO JSON"), None)
    if json is not None:
        names: Sequence[object] = coco.read_file(root / json).class_names()
        note = f"class names are the categories of {json}, numbered in the order of their ids"
    elif places[0].format == "Pascal VOC XML":
        folders = sorted({root / str(place.annotations) for place in places})
        files = [file for folder in folders for file in voc.xml_files(folder).values()]
        names, note = voc.class_names(files), "class names are those in the XML files, sorted"
    else:
        names, note = _yolo_names(root, places)
    try:
        return check_names(names), note
    except DetectorError as error:
        raise DetectorError(f"{error.message} in the labels", file=source) from error


def _yolo_names(root: Path, places: Sequence[Split]) -> tuple[Sequence[object], str]:
    for name in ("classes.txt", "obj.names", "labels/classes.txt"):
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8-sig").splitlines()
            return [line.strip() for line in lines if line.strip()], f"class names are from {name}"
    largest = -1
    for place in places:
        files = [yolo.label_path(image) for image in _yolo_images(root, place)]
        largest = max(largest, yolo.largest_class(files))
    note = "no class names found (classes.txt): classes are named by their numbers"
    return [str(number) for number in range(largest + 1)], note


def _yolo_images(root: Path, place: Split) -> list[Path]:
    if place.list_file is not None:
        return yolo.listed_images(root / place.list_file, root)
    return image_files(root / str(place.images))
