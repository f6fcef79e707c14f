"""Safe reader of YAML files with line numbers, and validation against typed settings.

No code in a file runs: only tags of ``yaml.SafeLoader`` are allowed, sizes are limited, and every
error names the file and the line.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pydantic
import yaml

from detector.utils.errors import MAX_SHOWN, DetectorError, nearest, shown
from detector.utils.files import read_text

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(pydantic.BaseModel)  # which has no public name

MAX_YAML_BYTES = 1 << 20
"""Largest YAML file that is read."""
MAX_YAML_NODES = 100_000
"""Maximum number of values, with aliases expanded: nested aliases could fill the memory."""
MAX_YAML_DEPTH = 64
"""Maximum nesting depth."""
MAX_YAML_NUMBER = 100
"""Maximum length of a number or a date, in characters. Python parses them in quadratic time."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "timestamp", "seq", "map")
_NUMBERS = frozenset(_TAG + kind for kind in ("int", "float", "timestamp"))

_AMBIGUOUS = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_]+)+(\.[0-9_]*)?)")
"""Numbers in octal or to the base 60, of which only YAML 1.1 knows."""

YamlKey = str | int
"""Key of a mapping, or index of a list."""
ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)

Suggest = Callable[[str, Any], str]
"""Function from an unknown key and its value to a hint that ends the error, or to ""."""


class _OneLineErrors(ModelMetaclass):
    """Metaclass whose classes raise a DetectorError of one line instead of a ValidationError.

    This affects only calls in Python, such as ``NmsSettings(iou=2)``. Values from files and inside
    other settings are validated by pydantic itself; :func:`validate` adds file and line to errors.
    """

    if not TYPE_CHECKING:  # so that type checkers see the signature made of the fields

        def __call__(cls, *args: Any, **values: Any) -> Any:  # noqa: N805
            try:
                return super().__call__(*args, **values)
            except pydantic.ValidationError as error:
                raise DetectorError(explain(cls, first_issue(error))) from None


class Strict(pydantic.BaseModel, metaclass=_OneLineErrors):
    """Base class of all settings: immutable, and unknown keys are errors.

    Raises:
        DetectorError: a value is invalid, or a key is unknown; names the nearest key.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    earlier_names: ClassVar[Mapping[str, str]] = {}
    """Keys in files of earlier versions → their present names."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _rename_earlier_keys(cls, values: Any) -> Any:
        if not cls.earlier_names or not isinstance(values, dict):
            return values
        return {cls.earlier_names.get(key, key): value for key, value in values.items()}

    @classmethod
    def elsewhere(cls, name: str, spell: Callable[[str], str] = str) -> str:
        """Return a hint on where an unknown key belongs, or "".

        Args:
            name: the key.
            spell: formats a key for the message, for example as a flag.
        """
        return ""


class _Loader(yaml.SafeLoader):
    """YAML loader that limits size and depth, and reads 1e-3 as a number as in YAML 1.2."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._nodes += 1
        if self._nodes > MAX_YAML_NODES:
            issue = f"more than {MAX_YAML_NODES} values"
            raise yaml.composer.ComposerError(None, None, issue, mark)
        if self._depth > MAX_YAML_DEPTH:
            issue = f"nested deeper than {MAX_YAML_DEPTH} levels"
            raise yaml.composer.ComposerError(None, None, issue, mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.add_implicit_resolver(
    _TAG + "float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class YamlFile:
    """YAML document as plain Python values, with the line of each value.

    Args:
        path: the file, for error messages.
        text: its content.

    Attributes:
        value: the content as dictionaries, lists and scalars.

    Raises:
        DetectorError: the text is too large, not well-formed, or has a tag that is not allowed.
    """

    def __init__(self, path: Path, text: str) -> None:
        if len(text) > MAX_YAML_BYTES:
            message = f"has {len(text)} characters, at most {MAX_YAML_BYTES} are read"
            raise DetectorError(message, file=path)
        self.path = path
        self.text = text
        self._lines: dict[tuple[YamlKey, ...], int] = {}
        self._numbers: dict[tuple[YamlKey, ...], str] = {}
        self._ambiguous: dict[tuple[YamlKey, ...], tuple[YamlKey, ...]] = {}
        self._nodes = 0
        self._scalars = yaml.constructor.SafeConstructor()
        try:
            root = yaml.compose(text, Loader=_Loader)
            self.value: Any = None if root is None else self._construct(root, ())
        except yaml.YAMLError as error:
            raise self._syntax_error(error) from error

    def line(self, *keys: YamlKey) -> int:
        """Return the 1-based line of the value at ``keys``, or of its nearest existing parent."""
        for length in range(len(keys), -1, -1):
            if keys[:length] in self._lines:
                return self._lines[keys[:length]]
        return 1

    def as_written(self, value: Any, *keys: YamlKey) -> Any:
        """Return the text of the number or date at ``keys``, or else its ``value`` unchanged.

        YAML 1.1 reads 010 as 8, 1:30 as 90, and 2024-01-01 as a date; a name is none of these.
        """
        return self._numbers.get(keys, value)

    def check_numbers(self, *keys: YamlKey) -> None:
        """Raise DetectorError for a number at or below ``keys`` that other readers read otherwise.

        In YAML 1.1, 010 is 8 and 1:30 is 90; in YAML 1.2 they are 10 and a text.
        """
        place = self._ambiguous.get(keys)
        if place is not None:
            name, text = ".".join(map(str, place)), self._numbers[place]
            message = f"{name}: {text} has several meanings in YAML, expected a plain number"
            raise self.error(message, *place)

    def error(self, message: str, *keys: YamlKey) -> DetectorError:
        """Return an error about the value at ``keys``, with file and line."""
        return DetectorError(message, file=self.path, line=self.line(*keys))

    @cached_property
    def comments(self) -> dict[int, str]:
        """Comments behind values by 1-based line, without ``#``."""
        ends: dict[int, int] = {}
        for token in yaml.scan(self.text, Loader=_Loader):
            if token.end_mark.index > token.start_mark.index:
                ends[token.end_mark.line] = token.end_mark.column
        lines = self.text.splitlines()
        behind = {number: lines[number][column:].strip() for number, column in ends.items()}
        return {
            number + 1: text.lstrip("#").strip()
            for number, text in behind.items()
            if text.startswith("#")
        }

    def _construct(self, node: yaml.Node, keys: tuple[YamlKey, ...]) -> Any:
        self._nodes += 1
        self._lines.setdefault(keys, node.start_mark.line + 1)
        if self._nodes > MAX_YAML_NODES:
            raise self.error(f"expands to more than {MAX_YAML_NODES} values", *keys)
        if len(keys) > MAX_YAML_DEPTH:
            raise self.error(f"is nested deeper than {MAX_YAML_DEPTH} levels", *keys)
        if node.tag.removeprefix(_TAG) not in _PLAIN:
            tag = node.tag.replace(_TAG, "!!")
            raise DetectorError(
                f"tag {shown(tag)} is not allowed, a file holds plain values only",
                file=self.path,
                line=node.start_mark.line + 1,
            )
        if isinstance(node, yaml.SequenceNode):
            return [self._construct(child, (*keys, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if len(node.value) > MAX_YAML_NUMBER and node.tag != _TAG + "str":
            limit = f"{len(node.value)} characters, at most {MAX_YAML_NUMBER} are read"
            raise self.error(f"unreadable value {shown(node.value)}: {limit}", *keys)
        if node.tag in _NUMBERS:
            self._add_number(keys, node.value)
        try:
            return self._scalars.construct_object(node)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # Such as a date in month 13, or a word with the tag !!int, !!bool or !!timestamp.
            raise self.error(f"unreadable value {shown(node.value)}: {error}", *keys) from error

    def _add_number(self, keys: tuple[YamlKey, ...], text: str) -> None:
        """Record a number, and that it is the first ambiguous one below its parents."""
        self._numbers[keys] = text
        if _AMBIGUOUS.fullmatch(text):
            for length in range(len(keys) + 1):
                self._ambiguous.setdefault(keys[:length], keys)

    def _mapping(self, node: yaml.MappingNode, keys: tuple[YamlKey, ...]) -> dict[YamlKey, Any]:
        mapping: dict[YamlKey, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("a mapping's key is not a plain word", *keys)
            line = key_node.start_mark.line + 1
            key = self._construct(key_node, (*keys, "<key>", len(mapping)))
            if key in mapping:
                raise DetectorError(f"key {shown(key)} appears twice", file=self.path, line=line)
            place = (*keys, key)
            self._lines[place] = line
            mapping[key] = self._construct(value_node, place)
        return mapping

    def _syntax_error(self, error: yaml.YAMLError) -> DetectorError:
        if isinstance(error, yaml.reader.ReaderError):
            line = self.text.count("\n", 0, error.position) + 1
            message = f"YAML syntax: character {shown(chr(int(error.character)))} is not allowed"
            return DetectorError(message, file=self.path, line=line)
        mark = getattr(error, "problem_mark", None)
        issue = getattr(error, "problem", None) or "not well-formed"
        context, start = getattr(error, "context", None), getattr(error, "context_mark", None)
        if context and start:
            context += f" from line {start.line + 1}"
        message = f"YAML syntax: {issue}" + (f" ({context})" if context else "")
        return DetectorError(message, file=self.path, line=mark.line + 1 if mark else None)


def read_yaml(path: str | Path) -> YamlFile:
    """Read a YAML file.

    Raises:
        DetectorError: the file is missing, too large, not UTF-8 text, or not well-formed.
    """
    path = Path(path)
    text = read_text(path, MAX_YAML_BYTES, "a YAML file")
    return YamlFile(path, text)


def validate(
    model: type[ModelT],
    file: YamlFile,
    value: Any = None,
    at: tuple[YamlKey, ...] = (),
    suggest: Suggest | None = None,
) -> ModelT:
    """Validate a file's values, or a part of them, against a model.

    Args:
        model: pydantic model, such as a subclass of :class:`Strict`.
        file: the file that holds the values.
        value: the part to validate; default: the whole content.
        at: keys that lead to ``value``.
        suggest: is called for an unknown key, before the nearest known key is looked up.

    Raises:
        DetectorError: the first issue, in one line with file and line number.
    """
    content = file.value if value is None and not at else value
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise file.error(f"expected a mapping of settings, found {found}", *at)
    for key in content:
        field = model.model_fields.get(key)
        if field is not None and field.annotation is not Any:
            file.check_numbers(*at, key)
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        issue = first_issue(error)
        raise file.error(explain(model, issue, suggest), *at, *issue["loc"]) from error


def first_issue(error: pydantic.ValidationError) -> Any:
    """Return the issue to report: a misspelt key comes before the key that it leaves missing."""
    return min(error.errors(), key=lambda issue: issue["type"] == "missing")


_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "string_type": "a word",
    "too_long": "at most {max_length} values",
    "too_short": "{min_length} or more values",
    "tuple_type": "a list",
}
"""Expected values by pydantic's error type; for other types pydantic's message is used."""


def explain(model: type[pydantic.BaseModel], issue: Any, suggest: Suggest | None = None) -> str:
    """Describe an issue that pydantic reports in one line.

    Args:
        model: the model that was validated against.
        issue: an item of ``ValidationError.errors()``.
        suggest: is called for an unknown key, before the nearest known key is looked up.
    """
    keys = [str(key) for key in issue["loc"]]
    name = ".".join(map(_shown_key, keys))
    if issue["type"] in ("extra_forbidden", "invalid_key"):
        elsewhere = model.elsewhere(keys[-1]) if issubclass(model, Strict) else ""
        if elsewhere:
            return f"{name} {elsewhere}"
        known = _fields_at(model, keys[:-1])
        hint = suggest(name, issue.get("input")) if suggest is not None else ""
        hint = hint or nearest(keys[-1], known) or f"; known keys: {', '.join(known)}"
        return f"unknown key {shown('.'.join(keys))}{hint}"
    if issue["type"] == "missing":
        return f"key {name!r} is missing"
    message = str(issue["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if issue["type"] in _EXPECTED:
        limits = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in issue.get("ctx", {}).items()
        }
        message = "expected " + _EXPECTED[issue["type"]].format(**limits)
    return f"{name}: {message}, found {shown(issue.get('input'))}" if name else message


def _shown_key(key: str) -> str:
    """Return a key of a file as it is, or quoted where it would break a line."""
    return key if key.isprintable() and len(key) <= MAX_SHOWN else shown(key)


def _fields_at(model: type[pydantic.BaseModel], keys: list[str]) -> list[str]:
    """Return the field names of the model, possibly nested, that ``keys`` lead to."""
    for key in keys:
        field = model.model_fields.get(key)
        if field is not None:  # else the key is an index, or one of a mapping of models
            inner = _model_in(field.annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """Return the model inside an annotation such as ``Model | None`` or ``dict[str, Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in inner if model is not None), None)
