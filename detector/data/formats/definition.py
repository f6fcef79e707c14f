"""Reader of ``--data``: a definition file, the name of a packaged one, or a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from detector.data.formats import classes, yolo
from detector.data.formats.folders import visible
from detector.data.formats.label_folder import check_label_folder
from detector.data.formats.layouts import found_names, guess_definition
from detector.data.formats.left_out import unusable_lines
from detector.data.formats.names import MAX_NUMBERED_CLASSES, check_names
from detector.data.formats.rows import has_image, image_files, read_lines
from detector.data.formats.shapes import CACHE_FOLDER, CLASSES, ShapesSettings
from detector.data.formats.splits import DatasetDefinition, KeypointShape, Split, WrittenPath
from detector.data.formats.voc_layout import has_annotation
from detector.data.formats.written_paths import WrittenPaths, find_root
from detector.utils.errors import DetectorError
from detector.utils.files import YAML_SUFFIXES, exists, find_file, is_folder, read_start
from detector.utils.opencv import IMAGE_SUFFIXES
from detector.utils.yaml_file import MAX_YAML_BYTES, Strict, YamlFile, read_yaml, validate

SPLIT_KEY = re.compile(r"(train|val|test)\w*")
"""Top-level keys that are splits, as in YOLO's files; other splits are given under ``splits:``."""

OWN_SOURCES: dict[str, set[str]] = {
    "class_folders": set(),
    "class_list": {"images"},
    "via": {"images", "via_class"},
    "labelme": {"images"},
}
"""Keys that determine the format alone, and the other keys that each may be combined with."""

RGB_CHANNELS = 3

DEFINITION_NAMES = ("data.yaml", "dataset.yaml")
"""Names under which a folder's definition file is looked for first."""

PLACES_OF_FILES = {
    ".json": "train: {{annotations: {file}, images: FOLDER}}",
    ".csv": "train: {{annotations: {file}, images: FOLDER}}",
    ".txt": "train: {file}",
}
"""What a definition says of a file of labels or a list, by suffix."""

CERTAIN_KEYS = ("train", "val", "test", "splits")
"""Keys of which a YAML file under another name has at least one if it is a definition."""

CERTAIN_LINE = re.compile(rf"^(['\"]?)({'|'.join(CERTAIN_KEYS)})\1\s*:", re.MULTILINE)
"""Line by which a YAML file that cannot be read is taken for a definition all the same."""


def load_definition(data: str | Path, data_root: Path | None = None) -> DatasetDefinition:
    """Load what ``--data`` names: a definition file, a packaged definition, or a folder.

    Args:
        data: ``datasets/x.yaml``, ``x``, or a folder.
        data_root: replaces the definition's ``path``.

    Raises:
        DetectorError: no such file or folder; an invalid definition (names file and line); a folder
            of unknown layout.
    """
    folder = Path(data)
    if not is_folder(folder):
        _check_kind(folder)
        return _from_file(read_yaml(find_file(data, "datasets")), data_root)
    file, notes = _file_in(folder)
    if file is None:
        definition = guess_definition(data_root or folder, str(data))
    else:
        definition = _from_file(read_yaml(file), data_root)
    return definition.model_copy(update={"notes": (*definition.notes, *notes)})


def _check_kind(file: Path) -> None:
    """Raise DetectorError for a file of labels or an image; says which definition has it."""
    suffix = file.suffix.lower()
    if suffix in PLACES_OF_FILES and exists(file):
        place = PLACES_OF_FILES[suffix].format(file=file.absolute())
        message = f"names no splits, expected a folder or a data.yaml, such as one with {place}"
        raise DetectorError(message, file=file)
    if suffix in IMAGE_SUFFIXES and exists(file):
        raise DetectorError(
            f"is one image, expected a folder or a data.yaml: --data {file.parent} is its folder",
            file=file,
        )


def _file_in(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the definition file in a folder, under whatever name, or None; and lines on others.

    Raises:
        DetectorError: there are several (names two of them), or the only one cannot be read.
    """
    for name in DEFINITION_NAMES:
        if (folder / name).is_file():
            return folder / name, []
    files = sorted(path for suffix in YAML_SUFFIXES for path in visible(folder, f"*{suffix}"))
    found: list[Path] = []
    unusable: dict[Path, DetectorError] = {}
    for file in files:
        try:
            if _defines_splits(read_yaml(file)):
                found.append(file)
        except DetectorError as error:
            unusable[file] = error
    for file, reason in unusable.items():
        if not found and CERTAIN_LINE.search(read_start(file, MAX_YAML_BYTES)):
            raise reason
    if len(found) > 1:
        raise DetectorError(
            f"{found[0].name} and {found[1].name} both define splits; --data {found[0]} names one",
            file=folder,
        )
    return next(iter(found), None), unusable_lines(unusable, folder, "YAML")


def _defines_splits(file: YamlFile) -> bool:
    """Return True if a YAML file has splits, which settings and model files do not have."""
    content = file.value
    return isinstance(content, dict) and not content.keys().isdisjoint(CERTAIN_KEYS)


# --------------------------------------------------------------------------------- definition file


class _File(Strict):
    """Keys of a definition file, apart from its splits."""

    path: WrittenPath | None = None
    names: Any = None
    nc: int | None = None
    splits: dict[str, Any] = {}
    quickstart: dict[str, Any] = {}
    generate: Any = None
    kpt_shape: KeypointShape | None = None
    polygons: bool | None = None
    channels: int | None = None
    # Accepted because other projects' files have them, and ignored.
    download: Any = None
    roboflow: Any = None
    flip_idx: Any = None
    kpt_names: Any = None


def _from_file(file: YamlFile, data_root: Path | None) -> DatasetDefinition:
    content = file.value if isinstance(file.value, dict) else {}
    tops = {k: v for k, v in content.items() if isinstance(k, str) and SPLIT_KEY.fullmatch(k)}
    others = {key: value for key, value in content.items() if key not in tops}
    keys = validate(_File, file, others if content else None)
    generate = _generated(file, keys)
    root, moved = _root(file.path, keys, data_root, tops)
    paths = WrittenPaths(file, root)
    splits = _generated_splits(generate)
    splits |= {key: _places(paths, value, "splits", key) for key, value in keys.splits.items()}
    splits |= {key: _places(paths, value, key) for key, value in tops.items()}
    splits = {key: places for key, places in splits.items() if places}
    if not splits:
        raise file.error("no split, expected train, val or others")
    splits = {key: _with_row_keys(file, keys, places) for key, places in splits.items()}
    notes = [*_ignored(keys), *moved, *paths.notes]
    names = _file_names(file, keys, root) or (None if generate is None else CLASSES)
    if names is None:
        names, note = found_names(root, splits, file.path)
        names = _numbered(file, keys.nc, names)
        notes.append(note)
    return DatasetDefinition(
        source=str(file.path),
        root=root,
        names=names,
        splits=splits,
        quickstart=keys.quickstart,
        generate=generate,
        notes=tuple(notes),
        lines={key: file.line(*(() if key in content else ("splits",)), key) for key in splits},
        path_line=file.line("path") if keys.path and data_root is None else None,
    )


def _ignored(keys: _File) -> list[str]:
    """Return a line for each key that asks for something that is not done."""
    lines = ["'download' is ignored: nothing is fetched"] if keys.download else []
    if keys.channels not in (None, RGB_CHANNELS):
        lines.append(f"'channels: {keys.channels}' is ignored: images are read as RGB")
    return lines


def _with_row_keys(file: YamlFile, keys: _File, places: tuple[Split, ...]) -> tuple[Split, ...]:
    """Return the places of a split with the file's own statement on label rows."""
    if keys.kpt_shape is not None and keys.polygons:
        raise file.error("polygons does not go with kpt_shape", "polygons")
    update = {"kpt_shape": keys.kpt_shape, "polygons": keys.polygons}
    stated = {key: value for key, value in update.items() if value is not None}
    return tuple(
        place.model_copy(update=stated)
        if place.format == "YOLO txt" and not place.model_fields_set & update.keys()
        else place
        for place in places
    )


def _numbered(file: YamlFile, nc: int | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names found in the labels, or ``nc`` numbers if these are just numbers."""
    if nc is None or nc == len(names):
        return names
    numbers = tuple(map(str, range(min(nc, MAX_NUMBERED_CLASSES))))
    if len(numbers) != nc or names != numbers[: len(names)]:
        found = len(names)
        message = f"nc is {nc}, but the labels have {found} classes, expected nc: {found}"
        raise file.error(message, "nc")
    return numbers


def _root(
    file: Path, keys: _File, data_root: Path | None, tops: dict[str, Any]
) -> tuple[Path, list[str]]:
    """Return the data set's folder, and a line if it is another one than the file says."""
    if data_root is not None:
        return data_root, []
    if keys.generate is not None:
        return (CACHE_FOLDER if keys.path is None else file.parent / keys.path), []
    root, note = find_root(file, keys.path or "", [keys.splits, tops])
    return root, [] if note is None else [note]


def _generated(file: YamlFile, keys: _File) -> ShapesSettings | None:
    """Return the parameters of a generated data set, given as a mapping or as its name."""
    if keys.generate is None:
        return None
    value = {"name": keys.generate} if isinstance(keys.generate, str) else keys.generate
    return validate(ShapesSettings, file, value, ("generate",))


def _generated_splits(generate: ShapesSettings | None) -> dict[str, tuple[Split, ...]]:
    names = [] if generate is None else list(generate.images)
    return {name: (Split(images=f"images/{name}"),) for name in names}


def _places(paths: WrittenPaths, value: Any, *keys: str) -> tuple[Split, ...]:
    """Parse the places of one split: a path, a mapping, or a list of those; or nothing."""
    if value is None or value == "":
        return ()  # many files have an empty "test:"
    if isinstance(value, list):
        return tuple(_place(paths, item, *keys, i) for i, item in enumerate(value))
    return (_place(paths, value, *keys),)


def _place(paths: WrittenPaths, value: Any, *keys: str | int) -> Split:
    if isinstance(value, str):
        return _bare_place(paths.find(value, *keys), paths.root)
    file = paths.file
    place = validate(Split, file, value, keys)
    if place.part[0] >= place.part[1]:
        raise file.error(f"part: expected from < to, found {list(place.part)}", *keys, "part")
    _check_sources(file, place, *keys)
    try:
        check_label_folder(place, paths.root)
    except DetectorError as error:
        raise file.error(error.message, *keys) from error
    return place


def _bare_place(path: str, root: Path) -> Split:
    """Return the place that a bare path means: a list file or a folder, of either task."""
    if path.endswith(".txt"):
        has_labels = classes.is_list(root / path)
        return Split(class_list=path) if has_labels else Split(list_file=path)
    folder = root / path
    if has_annotation(folder) and has_image(folder) and not _has_yolo_labels(folder):
        return Split(images=path, annotations=path)
    has_labels = classes.is_folder(folder) and not _has_yolo_labels(folder)
    return Split(class_folders=path) if has_labels else Split(images=path)


def _has_yolo_labels(folder: Path) -> bool:
    """Return True if any image below ``folder`` has a YOLO label file.

    Images without objects, in a folder of their own, may come first and have none.
    """
    by_folder: dict[Path, list[Path]] = {}
    for image in image_files(folder):
        by_folder.setdefault(image.parent, []).append(image)
    for images in by_folder.values():
        texts = {text.stem for text in yolo.label_path(images[0]).parent.glob("*.txt")}
        if any(image.stem in texts for image in images):
            return True
    return False


def _check_sources(file: YamlFile, place: Split, *keys: str | int) -> None:
    """Raise DetectorError for keys of a place that cannot be combined."""
    for kind, companions in OWN_SOURCES.items():
        if getattr(place, kind) is not None:
            others = sorted(place.model_fields_set - companions - {kind, "part", "seed"})
            if others:
                raise file.error(f"{others[0]} does not go with {kind}", *keys)
            return
    if place.via_class is not None:
        raise file.error("via_class needs via, a file of the VGG Image Annotator", *keys)
    if place.image_set is not None and place.format != "Pascal VOC XML":
        raise file.error("image_set needs annotations, a folder of XML files", *keys)
    if place.list_file is not None and place.annotations is not None:
        raise file.error(
            "list_file is for YOLO txt, annotations for other formats: give one of them", *keys
        )
    if place.images is None and (place.list_file is None and place.annotations is None):
        raise file.error("expected images, list_file or annotations", *keys)


def _file_names(file: YamlFile, keys: _File, root: Path) -> tuple[str, ...] | None:
    """Return the class names of a definition: a list, a mapping without gaps, or a file."""
    if keys.names is None:
        return None
    values = keys.names
    if isinstance(values, str):
        values = [name for _, name in read_lines(root / values, "one class name a line")]
    elif isinstance(values, list):
        values = [file.as_written(name, "names", i) for i, name in enumerate(values)]
    if isinstance(values, dict):
        missing = next((i for i in range(len(values)) if i not in values), None)
        if missing is not None:
            raise file.error(f"names: number {missing} is missing, expected 0, 1, 2, …", "names")
        values = [file.as_written(values[i], "names", i) for i in range(len(values))]
    if not isinstance(values, list):
        raise file.error(f"names: expected a list or a mapping, found {values!r}", "names")
    try:
        names = check_names(values)
    except DetectorError as error:
        raise file.error(f"names: {error.message}", "names") from error
    if keys.nc is not None and keys.nc != len(names):
        found = len(names)
        message = f"nc is {keys.nc}, but there are {found} names, expected nc: {found}"
        raise file.error(message, "nc")
    if keys.generate is not None and names != CLASSES:
        raise file.error(f"names: the generated set has {', '.join(CLASSES)}", "names")
    return names
