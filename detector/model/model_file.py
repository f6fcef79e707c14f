"""A model file before anything is built: its keys, its variants, and its rows with their lines.

``backbone`` is a list of rows, or names another file whose backbone is used instead::

    backbone: {cfg: repvgg, variant: A0, activation: SiLU}
    head:
      - [P5, 1, Conv, [256, 1, 1]]

``cfg`` is a file beside this one or a packaged one; ``variant`` is one of that file's variants, by
default the one it chooses itself; ``activation`` replaces that file's activation. A variant of this
file may give ``backbone`` too. Values, activation, width and depth multiples of each file apply to
its own rows. That file may not name a third one. Rows are counted through both: 0 is the first row
of the backbone.

The files of YOLOv8 and later have ``scales: {n: [depth, width, max_channels], …}``, which are
variants. One must be chosen, by ``scale`` in the file or by the variant that is asked for.

``backbone: {timm: resnet50, out: [P3, P4, P5]}`` takes one of timm's networks instead
(``detector.layers.timm_backbone``): its row 0 is the network, and one row per level follows.

In the 'from' of a head's row, in any file, ``P3`` is the last backbone row of stride 2³, ``P4`` of
stride 2⁴, and so on. The text that is stored with weights has all rows written out
(``detector.model.expand``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from detector.model.keys import (
    MAX_NUMBER,
    MAX_ROWS,
    Anchors,
    ModelKeys,
    NamedBackbone,
    TimmKeys,
    Variant,
    is_index,
    read_keys,
    read_reference,
)
from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.files import find_file
from detector.utils.yaml_file import YamlFile, YamlKey, read_yaml

Place = tuple[YamlKey, ...]
RowSource = int | str
"""Index of a row that is read, or a level such as P4."""

MAX_NAMED = 10
"""Number of variants that an error lists; it counts the rest."""

_LEVEL = re.compile(r"P(?:[0-9]|10)")

NUMBERED = ("anchors", "backbone", "head", "values", "variants")
"""Keys below which a number of several meanings, such as 010 or 1:30, is an error."""


@dataclass(frozen=True)
class Scope:
    """Settings that apply to all rows of one file.

    Attributes:
        file: text of the file with its positions.
        depth_multiple: depth multiple of the chosen variant, else of the file.
        width_multiple: width multiple of the chosen variant, else of the file; None if neither
            gives one.
        max_channels: widths are cut to it before they are multiplied; None for no limit.
        anchors: anchors of the chosen variant, else of the file.
        values: values of the words that rows may use.
        variant: name of the chosen variant, or None.
        scale: the same if it is one of the file's ``scales``, else None.
        activation: activation of rows that give none.
        activation_at: file and place of that activation, for error messages.
    """

    file: YamlFile
    depth_multiple: float
    width_multiple: float | None
    max_channels: int | None
    anchors: Anchors | None
    values: dict[str, Any]
    variant: str | None
    scale: str | None
    activation: str | None
    activation_at: tuple[YamlFile, Place]


@dataclass(frozen=True)
class RawRow:
    """A row as written in the file of its scope."""

    index: int
    source: RowSource | list[RowSource]
    number: int
    module: str
    args: list[Any] | dict[str, Any]
    section: str
    line: int
    scope: Scope

    @property
    def sources(self) -> list[RowSource]:
        """Rows and levels that the row reads, as a list."""
        return self.source if isinstance(self.source, list) else [self.source]

    def error(self, message: str) -> DetectorError:
        """Return an error about the row, with its file, line and index."""
        path = self.scope.file.path
        return DetectorError(
            f"row {self.index} ({self.module}): {message}", file=path, line=self.line
        )


@dataclass(frozen=True)
class ModelFile(Scope):
    """A checked model file.

    Attributes:
        keys: keys of the file, with defaults.
        rows: rows of the backbone, then of the head; those of a named backbone have the scope of
            their own file.
    """

    keys: ModelKeys
    rows: tuple[RawRow, ...]

    @property
    def names_backbone(self) -> bool:
        """True if the backbone's rows are those of another file."""
        return self.rows[0].scope.file is not self.file


def name_and_variant(text: str) -> tuple[str, str | None]:
    """Split ``FILE`` or ``FILE:VARIANT``.

    >>> name_and_variant("vovnet:39"), name_and_variant("cfg/vgg.yaml")
    (('vovnet', '39'), ('cfg/vgg.yaml', None))
    """
    cfg, colon, variant = text.rpartition(":")
    if not colon or set(variant) & {"/", "\\"}:  # no colon, or that of a Windows drive
        return text, None
    return cfg, variant or None


def read_model_file(cfg: str | Path, variant: str | None = None) -> ModelFile:
    """Read ``cfg`` (a path or the name of a packaged file) and, if it names one, its backbone."""
    return check_model_file(read_yaml(find_file(cfg, "cfg")), variant, may_name=True)


def check_model_file(
    file: YamlFile, variant: str | None = None, *, may_name: bool = False
) -> ModelFile:
    """Validate keys, variant and the form of each row.

    Args:
        file: text of the file with its positions.
        variant: name of a variant; by default the file's own choice.
        may_name: True if the file may name another file's backbone, which is then read.

    Raises:
        DetectorError: the file is invalid; names file and line, what was found and what was
            expected.
    """
    keys = read_keys(file)
    for key in NUMBERED:
        file.check_numbers(key)
    scope = _scope(file, keys, _choose_variant(file, keys, variant))
    content, place = _backbone(keys, scope)
    if isinstance(content, TimmKeys):
        rows = _section(scope, content.rows(), place)
    elif not isinstance(content, NamedBackbone):
        rows = _section(scope, content, place)
    elif may_name:
        rows = _named_rows(file, content, place)
    else:
        message = f"backbone: names another file, {shown(content.cfg)}, which is not read here"
        raise file.error(message, *place)
    rows += _section(scope, keys.head, ("head",), len(rows))
    if len(rows) > MAX_ROWS:
        raise file.error(f"{len(rows)} rows, at most {MAX_ROWS} are built", "head")
    return ModelFile(**vars(scope), keys=keys, rows=tuple(rows))


def _scope(file: YamlFile, keys: ModelKeys, name: str | None) -> Scope:
    chosen = keys.variants[name] if name else Variant()
    width = keys.width_multiple if "width_multiple" in keys.model_fields_set else None
    return Scope(
        file=file,
        depth_multiple=chosen.depth_multiple or keys.depth_multiple,
        width_multiple=chosen.width_multiple or width,
        max_channels=chosen.max_channels,
        anchors=keys.anchors if chosen.anchors is None else chosen.anchors,
        values={**keys.values, **chosen.values},
        variant=name,
        scale=name if keys.scales else None,
        activation=keys.activation,
        activation_at=(file, ("activation",)),
    )


def _choose_variant(file: YamlFile, keys: ModelKeys, variant: str | None) -> str | None:
    if variant is not None and not isinstance(variant, str):
        raise DetectorError(f"variant: expected a name, found {shown(variant)}")
    name = variant or keys.variant
    many, one = ("scales", "scale") if keys.scales else ("variants", "variant")
    if name is not None and name not in keys.variants:
        raise file.error(_unknown_variant(name, keys), many if variant else one)
    if name is None and keys.scales:
        raise file.error(f"scales: none is chosen; expected --variant {_some_of(keys)}", many)
    return name


def _unknown_variant(name: str, keys: ModelKeys) -> str:
    hint = nearest(name, keys.variants) or f"; the file has: {_some_of(keys)}"
    return f"unknown variant {shown(name)}{hint}"


def _some_of(keys: ModelKeys) -> str:
    """Return the names of a file's variants for an error message."""
    known = ", ".join(islice(keys.variants, MAX_NAMED)) or "none"
    if len(keys.variants) > MAX_NAMED:
        known += f" and {len(keys.variants) - MAX_NAMED} more"
    return known


def _backbone(keys: ModelKeys, scope: Scope) -> tuple[Any, Place]:
    """Return the backbone that the chosen variant or the file gives, and its place.

    It is a list of rows, or a reference in their place.
    """
    content: Any = keys.backbone
    place: tuple[str, ...] = ("backbone",)
    chosen = keys.variants[scope.variant].backbone if scope.variant else None
    if chosen is not None:
        content, place = chosen, ("variants", str(scope.variant), "backbone")
    if content is None:
        raise scope.file.error("key 'backbone' is missing")
    if isinstance(content, dict):
        return read_reference(scope.file, content, place), place
    return content, place


def _named_rows(file: YamlFile, named: NamedBackbone, place: Place) -> list[RawRow]:
    """Return the backbone's rows of the file that ``named`` refers to, with their own scope."""
    try:
        family = read_yaml(find_file(named.cfg, "cfg", beside=file.path.parent))
    except DetectorError as error:
        raise file.error(f"backbone: {error}", *place, "cfg") from error
    keys = read_keys(family)
    if named.variant is not None and named.variant not in keys.variants:
        message = f"backbone: {named.cfg}: {_unknown_variant(named.variant, keys)}"
        raise file.error(message, *place, "variant")
    scope = _scope(family, keys, _choose_variant(family, keys, named.variant))
    content, at = _backbone(keys, scope)
    if isinstance(content, NamedBackbone | TimmKeys):
        message = f"backbone: {named.cfg} names its backbone itself, expected a file with rows"
        raise file.error(message, *place, "cfg")
    if named.activation is not None:
        activation_at = (file, (*place, "activation"))
        scope = replace(scope, activation=named.activation, activation_at=activation_at)
    return _section(scope, content, at)


def _section(scope: Scope, content: Any, place: Place, first: int = 0) -> list[RawRow]:
    """Check the rows of a backbone or head, and return them; ``first`` is the first row's index."""
    name = str(place[-1])
    if not isinstance(content, list):
        message = f"{name}: expected a list of rows or {{cfg: FILE}}, found {shown(content)}"
        raise scope.file.error(message, *place)
    if not content:
        raise scope.file.error(f"{name} has no rows", *place)
    return [_check_row(scope, row, first + i, (*place, i)) for i, row in enumerate(content)]


def _check_row(scope: Scope, row: Any, index: int, place: Place) -> RawRow:
    line, section = scope.file.line(*place), str(place[-2])

    def error(message: str) -> DetectorError:
        return DetectorError(f"row {index}: {message}", file=scope.file.path, line=line)

    if not isinstance(row, list) or len(row) != 4:
        found = f"{len(row)} values" if isinstance(row, list) else shown(row)
        raise error(f"expected [from, number, module, args], found {found}")
    source, number, module = (_word_value(scope, word) for word in row[:3])
    if isinstance(source, list):
        source = [_word_value(scope, word) for word in source]
    args = row[3]
    if not _is_source(source, section):
        level = ", a level such as P4," if section == "head" else ""
        raise error(f"'from' is a row index{level} or a list of them, found {shown(source)}")
    least = 1 if number is row[1] else 0  # a variant may leave a row out
    if not is_index(number) or not least <= number <= MAX_NUMBER:
        raise error(f"'number' is a whole number of {least} to {MAX_NUMBER}, found {shown(number)}")
    if not isinstance(module, str):
        raise error(f"'module' is the name of a module, found {shown(module)}")
    args = [] if args is None else args
    if not isinstance(args, (list, dict)):
        raise error(f"'args' is a list, or a mapping of arguments by name, found {shown(args)}")
    return RawRow(index, source, number, module, args, section, line, scope)


def _word_value(scope: Scope, word: Any) -> Any:
    """Return the value of one of the file's own words; anything else is returned as it is."""
    return scope.values.get(word, word) if isinstance(word, str) else word


def _is_source(source: Any, section: str) -> bool:
    """Return whether 'from' is one source or several; only the head may read levels like P4."""
    sources = source if isinstance(source, list) else [source]
    return bool(sources) and all(
        is_index(one) or (section == "head" and isinstance(one, str) and _LEVEL.fullmatch(one))
        for one in sources
    )
