"""YAML read safely and with positions, and checked against typed settings.

Nothing in a file runs: tags are those of ``yaml.SafeLoader``, sizes have limits, and every
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

from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.files import atomic, find_file, read_text, write_text

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(pydantic.BaseModel)  # which has no public name

__all__ = ["Strict", "YamlFile", "atomic", "find_file", "read_yaml", "validate", "write_text"]

MAX_YAML_BYTES = 1 << 20
MAX_YAML_NODES = 100_000
"""Counted with aliases expanded, so that a file of nested aliases cannot fill the memory."""
MAX_YAML_DEPTH = 64
MAX_YAML_NUMBER = 100
"""Characters of a number or a date. Python takes the longer ones apart in quadratic time."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "timestamp", "seq", "map")

Key = str | int
ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)

Suggest = Callable[[str, Any], str]
"""From an unknown key and its value to how the error goes on, or to nothing."""


class _OneLineErrors(ModelMetaclass):
    """Makes a call of a settings class raise one line in place of pydantic's several.

    Only calls in Python come through here. What stands in a file, or inside other settings, is
    validated by pydantic itself, whose errors :func:`validate` gives their file and line.
    """

    if not TYPE_CHECKING:  # else type checkers would no longer see the fields' own signature

        def __call__(cls, *args: Any, **values: Any) -> Any:  # noqa: N805
            try:
                return super().__call__(*args, **values)
            except pydantic.ValidationError as error:
                raise DetectorError(explain(cls, first_problem(error))) from None


class Strict(pydantic.BaseModel, metaclass=_OneLineErrors):
    """Base of all settings: unknown keys are errors, and values do not change.

    Raises:
        DetectorError: a value does not fit, or a key is unknown; names the nearest one.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

    earlier_names: ClassVar[Mapping[str, str]] = {}
    """Keys as files of earlier versions have them → as they are named now."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _rename_earlier_keys(cls, values: Any) -> Any:
        if not cls.earlier_names or not isinstance(values, dict):
            return values
        return {cls.earlier_names.get(key, key): value for key, value in values.items()}

    @classmethod
    def elsewhere(cls, name: str, spell: Callable[[str], str] = str) -> str:
        """Say where an unknown key belongs; "" where nobody knows it.

        Args:
            name: the key.
            spell: how the reader writes a key.
        """
        return ""


class _Loader(yaml.SafeLoader):
    """Limits size and depth, and reads 1e-3 as a number, as YAML 1.2 does; in 1.1 it is a word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._nodes += 1
        if self._nodes > MAX_YAML_NODES:
            problem = f"more than {MAX_YAML_NODES} values"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        if self._depth > MAX_YAML_DEPTH:
            problem = f"nested deeper than {MAX_YAML_DEPTH} levels"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.add_implicit_resolver(
    _TAG + "float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class YamlFile:
    """A YAML document as plain Python values, with the line of each node."""

    def __init__(self, path: Path, text: str) -> None:
        if len(text) > MAX_YAML_BYTES:
            message = f"has {len(text)} characters, YAML may have {MAX_YAML_BYTES}"
            raise DetectorError(message, file=path)
        self.path = path
        self.text = text
        self._lines: dict[tuple[Key, ...], int] = {}
        self._nodes = 0
        self._scalars = yaml.constructor.SafeConstructor()
        try:
            root = yaml.compose(text, Loader=_Loader)
            self.value: Any = None if root is None else self._construct(root, ())
        except yaml.YAMLError as error:
            raise self._syntax_error(error) from error

    def line(self, *keys: Key) -> int:
        """1-based line of the node at ``keys``, or of its nearest parent that exists."""
        for length in range(len(keys), -1, -1):
            if keys[:length] in self._lines:
                return self._lines[keys[:length]]
        return 1

    def error(self, message: str, *keys: Key) -> DetectorError:
        """An error about the node at ``keys``."""
        return DetectorError(message, file=self.path, line=self.line(*keys))

    @cached_property
    def comments(self) -> dict[int, str]:
        """1-based line → the comment behind the values on it, without its ``#``."""
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

    def _construct(self, node: yaml.Node, keys: tuple[Key, ...]) -> Any:
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
        try:
            return self._scalars.construct_object(node)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # A date in month 13, !!int of a word, !!bool of one, !!timestamp of one.
            raise self.error(f"unreadable value {shown(node.value)}: {error}", *keys) from error

    def _mapping(self, node: yaml.MappingNode, keys: tuple[Key, ...]) -> dict[Key, Any]:
        mapping: dict[Key, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("a mapping's key is not a plain word", *keys)
            line = key_node.start_mark.line + 1
            key = self._construct(key_node, (*keys, "<key>", len(mapping)))
            if key in mapping:
                raise DetectorError(f"key {shown(key)} stands twice", file=self.path, line=line)
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
        problem = getattr(error, "problem", None) or "not well-formed"
        context, start = getattr(error, "context", None), getattr(error, "context_mark", None)
        if context and start:
            context += f" from line {start.line + 1}"
        message = f"YAML syntax: {problem}" + (f" ({context})" if context else "")
        return DetectorError(message, file=self.path, line=mark.line + 1 if mark else None)


def read_yaml(path: str | Path) -> YamlFile:
    """Read a YAML file.

    Raises:
        DetectorError: missing, too large, not text, or not well-formed; with its line.
    """
    path = Path(path)
    text = read_text(path, MAX_YAML_BYTES, "a YAML file")
    return YamlFile(path, text)


def validate(
    model: type[ModelT],
    file: YamlFile,
    value: Any = None,
    at: tuple[Key, ...] = (),
    suggest: Suggest | None = None,
) -> ModelT:
    """Check a file's values (or the ``value`` that stands ``at`` keys) against a model.

    Args:
        model: what the values must fit.
        file: where they stand.
        value: they themselves; default: all that the file holds.
        at: keys that lead to them.
        suggest: is asked about an unknown key before the nearest name is looked up.

    Raises:
        DetectorError: the first problem, as one line with file and line.
    """
    content = file.value if value is None and not at else value
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise file.error(f"expected a mapping of settings, found {found}", *at)
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        problem = first_problem(error)
        raise file.error(explain(model, problem, suggest), *at, *problem["loc"]) from error


def first_problem(error: pydantic.ValidationError) -> Any:
    """Return the problem to report: a misspelt key comes before the key that it leaves missing."""
    return min(error.errors(), key=lambda problem: problem["type"] == "missing")


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
"""pydantic's kinds of problems, in words; it has more, which keep pydantic's own."""


def explain(model: type[pydantic.BaseModel], problem: Any, suggest: Suggest | None = None) -> str:
    """Return one sentence for one of pydantic's problems; ``suggest`` as in :func:`validate`."""
    keys = [str(key) for key in problem["loc"]]
    name = ".".join(keys)
    if problem["type"] in ("extra_forbidden", "invalid_key"):
        elsewhere = model.elsewhere(keys[-1]) if issubclass(model, Strict) else ""
        if elsewhere:
            return f"{name} {elsewhere}"
        known = _fields_at(model, keys[:-1])
        hint = suggest(name, problem.get("input")) if suggest is not None else ""
        hint = hint or nearest(keys[-1], known) or f"; known keys: {', '.join(known)}"
        return f"unknown key {name!r}{hint}"
    if problem["type"] == "missing":
        return f"key {name!r} is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if problem["type"] in _EXPECTED:
        limits = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in problem.get("ctx", {}).items()
        }
        message = "expected " + _EXPECTED[problem["type"]].format(**limits)
    return f"{name}: {message}, found {shown(problem.get('input'))}" if name else message


def _fields_at(model: type[pydantic.BaseModel], keys: list[str]) -> list[str]:
    """Field names of the (possibly nested) model that ``keys`` lead to."""
    for key in keys:
        field = model.model_fields.get(key)
        if field is not None:  # else it is an index, or a key of a mapping of models
            inner = _model_in(field.annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """The model in ``Model | None``, ``dict[str, Model]`` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in inner if model is not None), None)
