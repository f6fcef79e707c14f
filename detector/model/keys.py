"""Keys of a model file, with their types and limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from detector.structures.class_names import class_name_issue
from detector.structures.preprocess import PreprocessKeys
from detector.utils.errors import shown
from detector.utils.yaml_file import Strict, YamlFile, validate

MAX_CLASSES = 100_000
MAX_ROWS = 1_000
MAX_VARIANTS = 1_000
MAX_NUMBER = 100
MAX_ANCHORS = 100
MAX_ANCHOR_SIDE = 1e6
MAX_MULTIPLE = 16.0
MAX_VALUES = 100

Anchors = int | list[list[float]]
Values = Annotated[dict[str, Any], Field(max_length=MAX_VALUES)]
"""Words that rows may use in place of 'from', number, module or an argument."""
ClassNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=MAX_CLASSES)]
Multiple = Annotated[float, Field(gt=0, le=MAX_MULTIPLE)]
Channels = Annotated[int, Field(ge=1)]


def _three(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("expected [depth, width, max_channels]")
    return value


Scale = Annotated[
    tuple[Multiple, Multiple, Channels],
    Field(strict=False),
    BeforeValidator(_three),
]
"""Depth and width multiple and ``max_channels``, as the files of YOLOv8 and later give them."""


class NamedBackbone(Strict):
    """Reference to the backbone of another model file, in place of rows."""

    model_config = ConfigDict(strict=True)

    cfg: str
    variant: str | None = None
    activation: str | None = None


class Variant(Strict):
    """One entry of ``variants``; each key that it gives replaces the file's own."""

    model_config = ConfigDict(strict=True)

    depth_multiple: Multiple | None = None
    width_multiple: Multiple | None = None
    max_channels: Channels | None = None
    anchors: Anchors | None = None
    values: Values = {}
    backbone: NamedBackbone | None = None


class ModelKeys(Strict):
    """Keys of a model file, those of YOLO's files and our own; only the rows are required.

    Each of ``scales`` is one of ``variants``, too; ``scale`` is the chosen one.
    """

    model_config = ConfigDict(strict=True)

    nc: Annotated[int, Field(ge=1, le=MAX_CLASSES)] = 80
    names: ClassNames | None = None
    ch: Literal[3] = 3
    depth_multiple: Multiple = 1.0
    width_multiple: Multiple = 1.0
    anchors: Anchors | None = None
    activation: str | None = None
    imgsz: Annotated[int, Field(ge=32, le=8192)] = 640
    preprocess: PreprocessKeys = PreprocessKeys()
    values: Values = {}
    variants: Annotated[dict[str, Variant], Field(max_length=MAX_VARIANTS)] = {}
    variant: str | None = None
    scales: Annotated[dict[str, Scale], Field(min_length=1, max_length=MAX_VARIANTS)] | None = None
    scale: str | None = None
    backbone: Any = None
    head: list[Any]


def read_keys(file: YamlFile) -> ModelKeys:
    """Validate the keys of a model file, without its rows.

    Raises:
        DetectorError: a key is unknown, missing or has a wrong value; names file and line, what was
            found and what was expected.
    """
    for place in _anchor_places(file.value):
        _check_anchors(file, place)
    keys = validate(ModelKeys, file)
    _check_names(file, keys)
    return _with_scales(file, keys)


def _with_scales(file: YamlFile, keys: ModelKeys) -> ModelKeys:
    """Return the keys with each of ``scales`` as a variant."""
    if keys.scales is None:
        if keys.scale is not None:
            raise file.error("scale: the file has no scales", "scale")
        return keys
    if "variants" in keys.model_fields_set:
        message = "variants: the file has scales; expected only one of the two"
        raise file.error(message, "variants")
    if "variant" in keys.model_fields_set:
        raise file.error("variant: the file has scales; expected the key 'scale'", "variant")
    variants = {
        name: Variant(depth_multiple=depth, width_multiple=width, max_channels=channels)
        for name, (depth, width, channels) in keys.scales.items()
    }
    return keys.model_copy(update={"variants": variants, "variant": keys.scale})


def _check_names(file: YamlFile, keys: ModelKeys) -> None:
    names = keys.names or ()
    if names and "nc" in keys.model_fields_set and len(names) != keys.nc:
        raise file.error(f"nc is {keys.nc}, but there are {len(names)} names", "names")
    issue = class_name_issue(names)
    if issue:
        index, what = issue
        raise file.error(f"names: {what}", "names", index)


def _anchor_places(value: Any) -> Iterator[tuple[str, ...]]:
    """Yield the places of anchors in a file: its own and those of its variants."""
    if isinstance(value, dict):
        if "anchors" in value:
            yield ("anchors",)
        variants = value.get("variants")
        for name, variant in (variants if isinstance(variants, dict) else {}).items():
            if isinstance(variant, dict) and "anchors" in variant:
                yield ("variants", name, "anchors")


def _check_anchors(file: YamlFile, place: tuple[str, ...]) -> None:
    """Check anchors: a number per level, or equally long lists of widths and heights per level."""
    anchors = file.value
    for key in place:
        anchors = anchors[key]
    if isinstance(anchors, list) and anchors:
        for i, level in enumerate(anchors):
            issue = _level_issue(level, anchors[0])
            if issue:
                raise file.error(f"anchors: {issue}", *place, i)
    elif anchors is not None and not (is_index(anchors) and 1 <= anchors <= MAX_ANCHORS):
        raise file.error(
            "anchors: expected a list [w, h, w, h, …] per level, or the number of anchors "
            f"per level, 1 to {MAX_ANCHORS}; found {shown(anchors)}",
            *place,
        )


def _level_issue(level: Any, first: list[Any]) -> str | None:
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


def is_index(value: Any) -> bool:
    """Return whether a value is an integer; YAML's true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)
