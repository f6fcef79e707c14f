"""Common layouts of folders without a definition: YOLO, COCO, Pascal VOC, CSV, class folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from detector.data.formats import classes, coco, labelme, voc, yolo
from detector.data.formats.beside import common_folder, folders_of_pairs
from detector.data.formats.class_files import read_class_file, read_names
from detector.data.formats.coco_layout import OTHER_PLACES, USUAL_PLACES, coco_splits
from detector.data.formats.converters import CONTAINERS, FORMATS, check_foreign
from detector.data.formats.darknet import read_darknet
from detector.data.formats.folders import files_below, folders_in, relative_path, visible
from detector.data.formats.left_out import MAX_LEFT_OUT, LeftOut
from detector.data.formats.listed_layouts import (
    LISTED_FORMATS,
    left_out_files,
    listed_layout,
    listed_names,
)
from detector.data.formats.names import check_names
from detector.data.formats.rows import has_image, image_files
from detector.data.formats.split_words import split_folder_above, split_name
from detector.data.formats.splits import TRAIN_PART, DatasetDefinition, Split
from detector.data.formats.unknown_layout import unknown_layout
from detector.data.formats.voc_layout import (
    has_annotation,
    listed_splits,
    place_of_all,
    splits_of_folders,
)
from detector.data.formats.written_paths import contents
from detector.utils.errors import DetectorError, first_names
from detector.utils.opencv import IMAGE_SUFFIXES

GUESSED_SPLITS = ("train", "val", "test")
GUESS_SEED = 0
MIN_CLASSES = 2
"""Smallest number of image folders that are taken for classes in the absence of split folders."""


def guess_definition(root: Path, source: str) -> DatasetDefinition:
    """Guess the definition of a data set from the layout of its folder.

    Args:
        root: the folder.
        source: the folder as the user wrote it, for messages.

    Raises:
        DetectorError: unknown layout, or one of a format that is not read.
    """
    left_out = LeftOut()
    splits = _find_splits(root, left_out)
    if not splits or _lacks_labels(root, splits):
        check_foreign(root, source, FORMATS)
    splits = splits or _class_layout(root)
    if not splits:
        check_foreign(root, source, CONTAINERS)
        raise unknown_layout(root, source, _inner_set(root), left_out)
    places = [place for group in splits.values() for place in group]
    class_file = _darknet_class_file(root, places)
    names, note = found_names(root, splits, Path(source), class_file)
    notes = [f"{source}: {split}: {_described(group)}" for split, group in splits.items()]
    divided = [place for place in places if place.part != (0.0, 1.0)]
    if divided:
        missing = "no lists" if divided[0].list_file is None else "no list for val"
        notes.append(
            f"{missing}: {TRAIN_PART:.0%} of the images, shuffled with seed {GUESS_SEED}, are "
            "train, the others val"
        )
    if "val" in splits and splits.get("train") == splits["val"]:
        notes.append(f"train and val are the same list, {splits['val'][0].list_file}")
    return DatasetDefinition(
        source=source,
        root=root,
        names=names,
        splits=splits,
        notes=(
            *notes,
            *left_out.lines(root),
            *_left_out(root, splits),
            *left_out_files(root, places),
            note,
        ),
    )


def _find_splits(root: Path, left_out: LeftOut) -> dict[str, tuple[Split, ...]]:
    """Return the splits of a layout with boxes, or none; ``left_out`` gets files of no split."""
    splits = _coco_layout(root, USUAL_PLACES, left_out)
    if splits and "train" not in splits:
        splits = {**_yolo_layout(root), **splits}
    splits = splits or _darknet_layout(root) or _yolo_layout(root) or _voc_layout(root)
    splits = splits or _beside_layout(root) or _coco_layout(root, OTHER_PLACES, left_out)
    return splits or _labelme_layout(root) or _listed_layout(root)


def _lacks_labels(root: Path, splits: Mapping[str, Sequence[Split]]) -> bool:
    """Return True if the labels should be YOLO txt and there is no text file at all."""
    formats = {place.format for places in splits.values() for place in places}
    return formats == {"YOLO txt"} and not any(files_below(root, {".txt"}))


def _inner_set(root: Path) -> str | None:
    """Return the name of the only folder in a folder if that has a known layout, as in archives."""
    folders = folders_in(root)
    if len(folders) != 1 or not (_find_splits(folders[0], LeftOut()) or _class_layout(folders[0])):
        return None
    return folders[0].name


def _described(places: Sequence[Split]) -> str:
    """Return the format of a split's places; of several, or labels elsewhere, also the paths."""
    text: str = places[0].format
    pairs = [
        f"{p.annotations or p.via} with the images in {p.images}" for p in places if _is_pair(p)
    ]
    if pairs or len(places) > 1:
        text += ", " + " and ".join(
            pairs or [str(p.images or p.labelme or p.class_folders) for p in places]
        )
    return text


def _is_pair(place: Split) -> bool:
    """Return True if labels and images were found apart from each other."""
    if place.format == "COCO JSON" or place.format in LISTED_FORMATS:
        return True
    return place.annotations not in (None, place.images) and place.part == (0.0, 1.0)


def _left_out(root: Path, splits: Mapping[str, Sequence[Split]]) -> list[str]:
    """Return a line that names the folders whose images belong to no split, if there are any."""
    places = [place for group in splits.values() for place in group]
    if any(place.list_file is not None for place in places):
        return []  # the author of a list has chosen
    used = {
        (root / str(place.images or place.labelme or place.class_folders or ".")).resolve()
        for place in places
    }
    folders = {image.parent for image in files_below(root, IMAGE_SUFFIXES)}
    resolved = {folder: folder.resolve() for folder in folders}
    others = [one for one, path in resolved.items() if used.isdisjoint((path, *path.parents))]
    names = sorted(relative_path(folder, root) for folder in others)
    if not names:
        return []
    return [f"images of no split, left out: {first_names(names, MAX_LEFT_OUT)}"]


def _coco_layout(
    root: Path, patterns: Sequence[str], left_out: LeftOut
) -> dict[str, tuple[Split, ...]]:
    """Find COCO JSON files; divide a single one that is not named after a split."""
    splits = coco_splits(root, patterns, left_out)
    if len(splits) == 1:
        ((name, place),) = splits.items()
        return {name: (place,)} if split_name(name) else _seeded_split(place)
    return {name: (place,) for name, place in splits.items()}


def _yolo_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """Find ``images/train``, ``train/images`` or list files; else divide ``images/``."""
    if not any(root.glob("labels")) and not any(visible(root, "*/labels")):
        return {}
    lists = {name: root / f"{name}.txt" for name in GUESSED_SPLITS}
    if lists["train"].is_file():
        return {n: (Split(list_file=p.name),) for n, p in lists.items() if p.is_file()}
    folders = [*folders_in(root / "images"), *(path.parent for path in visible(root, "*/images"))]
    splits = {
        name: tuple(Split(images=relative_path(_inner_images(folder), root)) for folder in group)
        for name, group in _named_folders(folders).items()
    }
    if splits or not (root / "images").is_dir():
        return splits
    return _seeded_split(Split(images="images"))


def _darknet_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """Find the lists of an ``obj.data``; divide the train list where there is no other."""
    found = read_darknet(root)
    splits = {} if found is None else found.splits
    return _seeded_split(splits["train"][0]) if list(splits) == ["train"] else splits


def _beside_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """Find YOLO txt files beside images, in a folder per split; else divide all of them."""
    return _by_folder(root, folders_of_pairs(root), _beside)


def _labelme_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """Find labelme's files, in a folder per split; else divide all of them.

    Where no image is in their folder, the images are looked for everywhere.
    """

    def place(folder: str) -> Split:
        images = None if has_image(root / folder) else "."
        return Split(labelme=folder, images=images)

    return _by_folder(root, labelme.folders_of_files(root), place)


def _by_folder(
    root: Path, folders: Sequence[Path], place: Callable[[str], Split]
) -> dict[str, tuple[Split, ...]]:
    """Return the places in the folders of splits that hold ``folders``; else divide all of them."""
    if not folders:
        return {}
    above = {found for folder in folders if (found := split_folder_above(root, folder))}
    named = {
        name: tuple(place(relative_path(folder, root)) for folder in group)
        for name, group in _by_split_name(above).items()
    }
    return named or _seeded_split(place(relative_path(common_folder(folders), root)))


def _beside(folder: str) -> Split:
    return Split(images=folder, labels=folder)


def _voc_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """Find VOC's folders with image-set lists, or a folder per split; else divide all XML files."""
    if not has_annotation(root):
        return {}
    splits = listed_splits(root) or splits_of_folders(root)
    return splits or _seeded_split(place_of_all(root, root))


def _listed_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """Find annotation files that list images, one per split; else divide the images of one."""
    found = listed_layout(root)
    return _seeded_split(found) if isinstance(found, Split) else found


def _class_layout(root: Path) -> dict[str, tuple[Split, ...]]:
    """Find folders of classes in each split's folder; else divide the folders of classes."""
    named = _named_folders([path for path in folders_in(root) if classes.is_folder(path)])
    if named:
        return {
            name: tuple(Split(class_folders=relative_path(folder, root)) for folder in group)
            for name, group in named.items()
        }
    names = classes.folder_names(root)
    if len(names) < MIN_CLASSES or not classes.is_folder(root):
        return {}
    if all(split_name(name) for name in names):  # split folders of images without labels
        return {}
    return _seeded_split(Split(class_folders="."))


def _named_folders(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the folders that hold images and are named after a split, by split, sorted."""
    return _by_split_name(path for path in folders if path.is_dir() and has_image(path))


def _by_split_name(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the folders that are named after a split, by split, sorted.

    Several may mean one split, such as ``train1`` and ``train2``; of links, the folder counts.
    """
    found: dict[str, dict[str, Path]] = {name: {} for name in GUESSED_SPLITS}
    for folder in sorted(folders, key=lambda path: (path.is_symlink(), path)):
        name = split_name(folder.name)
        if name:
            found[name].setdefault(os.path.realpath(folder), folder)
    return {name: sorted(group.values()) for name, group in found.items() if group}


def _inner_images(folder: Path) -> Path:
    """Return the folder ``images`` of a split's folder, or the folder itself."""
    return folder / "images" if (folder / "images").is_dir() else folder


def _seeded_split(place: Split) -> dict[str, tuple[Split, ...]]:
    """Divide one place into train and val, shuffled with a fixed seed."""
    parts = {"train": (0.0, TRAIN_PART), "val": (TRAIN_PART, 1.0)}
    update = {"seed": GUESS_SEED}
    return {n: (place.model_copy(update={**update, "part": p}),) for n, p in parts.items()}


# ------------------------------------------------------------------------------------------- names


def found_names(
    root: Path,
    splits: dict[str, tuple[Split, ...]],
    source: Path,
    class_file: str | None = None,
) -> tuple[tuple[str, ...], str]:
    """Return class names taken from the labels, and a line that says how they were found.

    Args:
        root: the data set's folder.
        splits: its splits.
        source: the folder or definition as the user wrote it, for messages.
        class_file: file of class names that was stated, relative to the root.

    Raises:
        DetectorError: the names cannot be read, or cannot be those of classes.
    """
    places = [place for group in splits.values() for place in group]
    json = next((place.annotations for place in places if place.format == "COCO JSON"), None)
    names: Sequence[object]
    if class_file is not None:
        names, note = read_names(root / class_file), f"class names are from {class_file}"
    elif json is not None:
        names = coco.read_file(root / json).class_names()
        note = f"class names are the categories of {json}, numbered in the order of their ids"
    elif places[0].format == "Pascal VOC XML":
        folders = sorted({root / str(place.annotations) for place in places})
        files = [file for folder in folders for file in voc.xml_files(folder)]
        names, note = voc.class_names(files), "class names are those in the XML files, sorted"
    elif places[0].format == "labelme JSON":
        names = labelme.class_names(sorted({root / str(place.labelme) for place in places}))
        note = "class names are those of the shapes, sorted"
    elif places[0].format in LISTED_FORMATS:
        names, note = listed_names(root, places)
    elif places[0].task == "classify":
        names, note = _class_names(root, places)
    else:
        names, note = _yolo_names(root, places)
    try:
        return check_names(names), note
    except DetectorError as error:
        folder = places[0].labelme or places[0].annotations
        held = f"; {contents(root / folder)}" if folder and (root / folder).is_dir() else ""
        raise DetectorError(f"{error.message} in the labels{held}", file=source) from error


def _class_names(root: Path, places: Sequence[Split]) -> tuple[Sequence[object], str]:
    folders = [place.class_folders for place in places if place.class_folders is not None]
    if folders:
        found = {name for folder in folders for name in classes.folder_names(root / folder)}
        return sorted(found), "class names are those of the folders, sorted"
    lists = [classes.list_names(root / str(place.class_list)) for place in places]
    if all(name.isdecimal() for names in lists for name in names):
        return max(lists, key=len), "no class names found: classes are named by their numbers"
    return sorted(set().union(*lists)), "class names are those in the lists, sorted"


def _darknet_class_file(root: Path, places: Sequence[Split]) -> str | None:
    """Return the file of class names that darknet's file states, if its lists are the splits."""
    if any(place.list_file is None for place in places):
        return None
    found = read_darknet(root)
    return None if found is None else found.class_file


def _yolo_names(root: Path, places: Sequence[Split]) -> tuple[Sequence[object], str]:
    files = {image: file for place in places for image, file in _yolo_labels(root, place)}
    folders = {path.parent for pair in files.items() for path in pair}
    found = read_class_file(root, folders)
    if found is not None:
        names, file = found
        return names, f"class names are from {os.path.relpath(file, root)}"
    largest = yolo.largest_class(list(files.values()))
    note = "no class names found (classes.txt): classes are named by their numbers"
    return [str(number) for number in range(largest + 1)], note


def _yolo_labels(root: Path, place: Split) -> list[tuple[Path, Path]]:
    """Return the images of a place with the paths of their label files."""
    folder = None if place.list_file is not None else root / str(place.images)
    labels = None if place.labels is None else root / place.labels
    if folder is None:
        images = yolo.listed_images(root / str(place.list_file), root)[0]
    else:
        images = image_files(folder)
    return [(image, yolo.label_path(image, folder, labels)) for image in images]
