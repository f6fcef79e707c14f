"""Typed settings → flags. A flag is a field: its name, type, default and description."""

from __future__ import annotations

import argparse
import inspect
import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

from detector.utils.errors import DetectorError, nearest
from detector.utils.yaml_file import Strict, Suggest, explain

SettingsT = TypeVar("SettingsT", bound=Strict)


def parse(
    settings: type[SettingsT],
    words: Sequence[str],
    program: str,
    suggest: Suggest = lambda word, value: "",
) -> SettingsT:
    """Flags → settings; ``model_fields_set`` holds the ones that were given.

    Args:
        settings: whose fields are the flags.
        words: of the command line.
        program: what the help calls it.
        suggest: from an unknown flag and its value to how the error goes on, or to nothing; is
            asked before the nearest flag is looked up.

    Raises:
        DetectorError: unknown flag, missing flag, or a value that does not fit.
        SystemExit: after ``--help``.
    """
    found, rest = _parser(settings, program).parse_known_args(words)
    if rest:
        raise DetectorError(_unexpected(rest, settings, suggest))
    values = vars(found)
    for name, value in values.items():
        if value in ("", [""]):
            raise DetectorError(f"{flag_of(settings, name)}: the value is empty")
    try:
        return settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise DetectorError(_bad_value(settings, error.errors()[0])) from error


def given_values(settings: type[Strict], words: Sequence[str]) -> dict[str, Any]:
    """Return the values of those flags that these settings have, as typed; others are passed over.

    Raises:
        DetectorError: a flag lacks its value.
    """
    asked = [word for word in words if word not in ("-h", "--help")]
    return vars(_parser(settings, "").parse_known_args(asked)[0])


def flag_of(settings: type[Strict], name: str) -> str:
    """The flag of a field: ``data_root`` → ``--data-root``."""
    return _spelt(settings.model_fields[name].alias or name)


def written_out(settings: Strict) -> str:
    """The flags that were given, as one would type them."""
    kind, words = type(settings), []
    for name in chain.from_iterable(names for _, names in _by_class(kind)):
        if name in settings.model_fields_set:
            value, flag = getattr(settings, name), flag_of(kind, name)
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            else:
                words += [flag, _joined(value)]
    return shlex.join(words)


def _spelt(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print."""

    def error(self, message: str) -> NoReturn:
        raise DetectorError(message.removeprefix("argument "))


def _parser(settings: type[Strict], program: str) -> argparse.ArgumentParser:
    """One flag a field; those that a tool shares with others are grouped by their class."""
    fields = settings.model_fields
    required = [
        f"{flag_of(settings, name)} {_metavar(field.annotation)}"
        for name, field in fields.items()
        if field.is_required()
    ]
    parser = _Parser(
        prog=program,
        usage=" ".join([program, *required, "[flags]"]),
        description=settings.__doc__,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for kind, names in _by_class(settings):
        group: Any = parser if kind is settings else parser.add_argument_group(_title(kind))
        for name in names:
            _add_flag(group, flag_of(settings, name), name, fields[name])
    return parser


def _by_class(settings: type[Strict]) -> Iterator[tuple[type[Strict], list[str]]]:
    """The class itself and its bases, each with the fields that it declares."""
    for kind in settings.__mro__:
        if issubclass(kind, Strict):
            own = inspect.get_annotations(kind)
            yield kind, [name for name in own if name in kind.model_fields]


def _title(kind: type[Strict]) -> str:
    return (kind.__doc__ or "").splitlines()[0].rstrip(".")


def _add_flag(group: Any, flag: str, name: str, field: FieldInfo) -> None:
    options: dict[str, Any] = {"dest": name, "help": _help(field)}
    kind = _type(field.annotation)
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["metavar"] = _metavar(field.annotation)
    if get_origin(kind) is tuple:
        options["type"] = _listed
    if isinstance(field.json_schema_extra, dict):  # what the flag means without a value
        options |= {"nargs": "?", "const": field.json_schema_extra["alone"]}
    group.add_argument(flag, **options)


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    if field.is_required():
        return f"{text} (required)"
    if field.default is None and "default:" in text:  # it says what happens then
        return text
    default = "none" if field.default in (None, ()) else _joined(field.default)
    return f"{text} (default: {default})"


def _joined(value: Any) -> str:
    """As one would type it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _metavar(annotation: Any) -> str:
    kind = _type(annotation)
    if get_origin(kind) is Literal:
        return f"{{{','.join(get_args(kind))}}}"
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return "JSON" if _type(item) is dict else f"{_metavar(item)},..."
    return {int: "INT", float: "NUMBER", str: "TEXT"}.get(kind, "PATH")


def _type(annotation: Any) -> Any:
    """``int`` of ``Annotated[int, …] | None``."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = get_args(annotation)[0]
    return dict if get_origin(annotation) is dict else annotation


def _listed(text: str) -> Any:
    """``a,b`` or a JSON list."""
    if not text.startswith("["):
        return text.split(",")
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a JSON list ({error}), found {text!r}") from error


def _unexpected(rest: Sequence[str], settings: type[Strict], suggest: Suggest) -> str:
    """Say what to write in place of the first of the words that no flag takes."""
    word, equals, value = rest[0].partition("=")
    if not word.startswith("-"):
        hint = _assigned(word, value, settings, suggest) if equals else suggest(word, value)
        hint = hint or "; several values are written as a,b,c"
        return f"unexpected word {rest[0]!r}{hint}"
    elsewhere = settings.elsewhere(word[2:].replace("-", "_"), _spelt)
    if elsewhere:
        return f"{word} {elsewhere}"
    if not equals and len(rest) > 1 and not rest[1].startswith("-"):
        value = rest[1]
    hint = suggest(word, value) or (_nearest_flag(word, settings) if word[:2] == "--" else "")
    return f"unknown flag {word!r}{hint or '; see --help'}"


def _assigned(name: str, value: str, settings: type[Strict], suggest: Suggest) -> str:
    """Spell ``data=x`` as ``--data x``; for a word of other projects name what stands for it."""
    flags = {flag_of(settings, field): field for field in settings.model_fields}
    flag = _spelt(name)
    if flag not in flags:
        return suggest(name, value)
    if _type(settings.model_fields[flags[flag]].annotation) is bool:
        is_off = value.lower() in ("false", "no", "off", "0")
        return f": use {flag.replace('--', '--no-', 1) if is_off else flag}"
    return f": use {shlex.join([flag, value])}"


def _nearest_flag(word: str, settings: type[Strict]) -> str:
    names = []
    for name, field in settings.model_fields.items():
        bare = flag_of(settings, name)[2:]
        names += [bare, f"no-{bare}"] if _type(field.annotation) is bool else [bare]
    hint = nearest(word[2:], [name for name in names if name.startswith(word[2:])] or names)
    return hint.replace("'", "'--", 1)


def _bad_value(settings: type[Strict], problem: Any) -> str:
    flag = _spelt(str(problem["loc"][0]))  # pydantic names a field by its alias
    if problem["type"] == "missing":
        return f"{flag} is missing"
    return explain(settings, {**problem, "loc": (flag,)})
