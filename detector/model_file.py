"""A model file: its keys, its variants, and its rows with their lines, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from detector.config import Strict, YamlFile, find_file, read_yaml, validate
from detector.errors import DetectorError, nearest, shown
from detector.preprocess import PreprocessKeys

MAX_CLASSES = 100_000
MAX_ROWS = 1_000
MAX_NUMBER = 100
MAX_ANCHORS = 100
MAX_ANCHOR_SIDE = 1e6
MAX_MULTIPLE = 16.0
MAX_VALUES = 100

Anchors = int | list[list[float]]
Values = Annotated[dict[str, Any], Field(max_length=MAX_VALUES)]
"""Words that rows may use in the place of 'from', number, module or an argument."""
Multiple = Annotated[float, Field(gt=0, le=MAX_MULTIPLE)]


class Variant(Strict):
    """One row of the table of variants; what it gives takes the place of the file's."""

    model_config = ConfigDict(strict=True)

    depth_multiple: Multiple | None = None
    width_multiple: Multiple | None = None
    anchors: Anchors | None = None
    values: Values = {}


class ModelKeys(Strict):
    """The keys of a model file, YOLOv5's and ours. All but the rows may be missing."""

    model_config = ConfigDict(strict=True)

    nc: Annotated[int, Field(ge=1, le=MAX_CLASSES)] = 80
    names: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    ch: Literal[3] = 3
    depth_multiple: Multiple = 1.0
    width_multiple: Multiple = 1.0
    anchors: Anchors | None = None
    activation: str | None = None
    imgsz: Annotated[int, Field(ge=32, le=8192)] = 640
    preprocess: PreprocessKeys = PreprocessKeys()
    values: Values = {}
    variants: dict[str, Variant] = {}
    variant: str | None = None
    backbone: list[Any]
    head: list[Any]


@dataclass(frozen=True)
class RawRow:
    """A row as it stands in the file."""

    index: int
    source: int | list[int]
    number: int
    module: str
    args: list[Any] | dict[str, Any]
    section: str
    line: int


@dataclass(frozen=True)
class ModelFile:
    """A checked model file.

    Attributes:
        file: the text with its positions.
        keys: its keys, with defaults.
        depth_multiple: of the chosen variant.
        width_multiple: of the chosen variant.
        anchors: of the chosen variant.
        values: what the words stand for that rows may use.
        variant: its name, if the file has variants.
        rows: backbone and head, one after the other.
    """

    file: YamlFile
    keys: ModelKeys
    depth_multiple: float
    width_multiple: float
    anchors: Anchors | None
    values: dict[str, Any]
    variant: str | None
    rows: tuple[RawRow, ...]

    def error(self, row: RawRow, message: str) -> DetectorError:
        """An error about a row, with its line and index."""
        return DetectorError(
            f"row {row.index} ({row.module}): {message}", file=self.file.path, line=row.line
        )


def read_model_file(cfg: str | Path, variant: str | None = None) -> ModelFile:
    """Read ``cfg`` (a path or the name of a packaged file)."""
    return check_model_file(read_yaml(find_file(cfg, "cfg")), variant)


def check_model_file(file: YamlFile, variant: str | None = None) -> ModelFile:
    """Check keys, variant and the shape of each row.

    Raises:
        DetectorError: with file, line, what was found and what was expected.
    """
    for place in _anchor_places(file.value):
        _check_anchors(file, place)
    keys = validate(ModelKeys, file)
    _check_names(file, keys)
    name = _choose_variant(file, keys, variant)
    chosen = keys.variants[name] if name else Variant()
    values = {**keys.values, **chosen.values}
    rows: list[RawRow] = []
    for section in ("backbone", "head"):
        content = getattr(keys, section)
        if not content:
            raise file.error(f"{section} has no rows", section)
        for position, row in enumerate(content):
            rows.append(_check_row(file, row, values, len(rows), section, position))
    if len(rows) > MAX_ROWS:
        raise file.error(f"{len(rows)} rows, at most {MAX_ROWS} are built", "head")
    return ModelFile(
        file,
        keys,
        chosen.depth_multiple or keys.depth_multiple,
        chosen.width_multiple or keys.width_multiple,
        keys.anchors if chosen.anchors is None else chosen.anchors,
        values,
        name,
        tuple(rows),
    )


def _choose_variant(file: YamlFile, keys: ModelKeys, variant: str | None) -> str | None:
    name = variant or keys.variant
    if name is not None and name not in keys.variants:
        known = ", ".join(keys.variants) or "none"
        hint = nearest(name, keys.variants) or f"; the file has: {known}"
        raise file.error(
            f"unknown variant {shown(name)}{hint}", "variants" if variant else "variant"
        )
    return name


def _check_names(file: YamlFile, keys: ModelKeys) -> None:
    names = keys.names or ()
    if names and "nc" in keys.model_fields_set and len(names) != keys.nc:
        raise file.error(f"nc is {keys.nc}, but there are {len(names)} names", "names")
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            raise file.error(f"names: {shown(name)} stands twice", "names", i)
        seen.add(name)


def _anchor_places(value: Any) -> Iterator[tuple[str, ...]]:
    """Where anchors stand: the file's own and those of its variants."""
    if isinstance(value, dict):
        if "anchors" in value:
            yield ("anchors",)
        variants = value.get("variants")
        for name, variant in (variants if isinstance(variants, dict) else {}).items():
            if isinstance(variant, dict) and "anchors" in variant:
                yield ("variants", name, "anchors")


def _check_anchors(file: YamlFile, place: tuple[str, ...]) -> None:
    """Their number per level, or a list of widths and heights per level; all levels alike."""
    anchors = file.value
    for key in place:
        anchors = anchors[key]
    if isinstance(anchors, list) and anchors:
        for i, level in enumerate(anchors):
            problem = _level_problem(level, anchors[0])
            if problem:
                raise file.error(f"anchors: {problem}", *place, i)
    elif anchors is not None and not (_is_index(anchors) and 1 <= anchors <= MAX_ANCHORS):
        raise file.error(
            "anchors: expected a list [w, h, w, h, …] per level, or the number of anchors "
            f"per level, 1 to {MAX_ANCHORS}; found {shown(anchors)}",
            *place,
        )


def _level_problem(level: Any, first: list[Any]) -> str | None:
    if not isinstance(level, list):
        return f"expected a list [w, h, w, h, …] of pixels, found {shown(level)}"
    if not level or len(level) % 2:
        return f"expected pairs of width and height, found {len(level)} values"
    for value in level:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 < value <= MAX_ANCHOR_SIDE:
            return f"expected pixels, more than 0, found {shown(value)}"
    if len(level) != len(first):
        return f"expected {len(first)} values as on the first level, found {len(level)}"
    return None


def _check_row(
    file: YamlFile, row: Any, values: dict[str, Any], index: int, section: str, position: int
) -> RawRow:
    line = file.line(section, position)

    def error(message: str) -> DetectorError:
        return DetectorError(f"row {index}: {message}", file=file.path, line=line)

    if not isinstance(row, list) or len(row) != 4:
        found = f"{len(row)} values" if isinstance(row, list) else shown(row)
        raise error(f"expected [from, number, module, args], found {found}")
    source, number, module = (
        values.get(word, word) if isinstance(word, str) else word for word in row[:3]
    )
    args = row[3]
    if not _is_index(source) and not (
        isinstance(source, list) and source and all(_is_index(one) for one in source)
    ):
        raise error(f"'from' is a row index or a list of them, found {shown(source)}")
    least = 1 if number is row[1] else 0  # a variant may leave a row out
    if not _is_index(number) or not least <= number <= MAX_NUMBER:
        raise error(f"'number' is a whole number of {least} to {MAX_NUMBER}, found {shown(number)}")
    if not isinstance(module, str):
        raise error(f"'module' is the name of a module, found {shown(module)}")
    args = [] if args is None else args
    if not isinstance(args, (list, dict)):
        raise error(f"'args' is a list, or a mapping of arguments by name, found {shown(args)}")
    return RawRow(index, source, number, module, args, section, line)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
