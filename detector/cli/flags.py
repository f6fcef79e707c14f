"""Command-line flags made from typed settings: a field's name, type, default and description."""

from __future__ import annotations

import argparse
import inspect
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

from detector.settings.values import typed_text
from detector.utils.errors import DetectorError, nearest, public_url
from detector.utils.yaml_file import Strict, Suggest, explain

HELP_FLAGS = ("-h", "--help")

SettingsT = TypeVar("SettingsT", bound=Strict)


def parse(
    settings: type[SettingsT],
    words: Sequence[str],
    program: str,
    suggest: Suggest = lambda word, value: "",
) -> SettingsT:
    """Parse flags to settings; ``model_fields_set`` holds the flags that were given.

    Args:
        settings: class whose fields are the flags.
        words: the command line, without the program's name.
        program: name of the program in the help text.
        suggest: is called for an unknown flag, before the nearest known flag is looked up.

    Raises:
        DetectorError: a flag is unknown or missing, or a value is invalid.
        SystemExit: after ``--help``.
    """
    parser = _parser(settings, program)
    several = any(_holds_several_words(field) for field in settings.model_fields.values())
    found, rest = (parser.parse_known_intermixed_args if several else parser.parse_known_args)(
        words
    )
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


def parse_known(settings: type[Strict], words: Sequence[str]) -> dict[str, Any]:
    """Return the given values of known flags, not validated; unknown flags are skipped.

    Raises:
        DetectorError: a flag lacks its value.
    """
    return vars(_known_args(settings, words)[0])


def unknown_words(settings: type[Strict], words: Sequence[str]) -> list[str]:
    """Return the words that no flag takes.

    Raises:
        DetectorError: a flag lacks its value.
    """
    return _known_args(settings, words)[1]


def _known_args(
    settings: type[Strict], words: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    without_help = [word for word in words if word not in HELP_FLAGS]
    return _parser(settings, "").parse_known_args(without_help)


def flag_of(settings: type[Strict], name: str) -> str:
    """Return the flag of a field: ``--data-root`` for ``data_root``; or its word, such as OUT."""
    field = settings.model_fields[name]
    return _extra(field, "positional") or _as_flag(field.alias or name)


def _extra(field: FieldInfo, key: str) -> str:
    """Return what a field says of its flag: ``alone``, ``positional``, ``repeated``; or nothing.

    ``alone`` is the value of a flag given without one; ``positional`` the word that help texts show
    for a value that is given without a flag; a ``repeated`` flag is given once for each value.
    """
    extra = field.json_schema_extra
    return str(extra.get(key, "")) if isinstance(extra, dict) else ""


def _holds_several_words(field: FieldInfo) -> bool:
    return bool(_extra(field, "positional")) and get_origin(_type(field.annotation)) is tuple


def format_flags(settings: Strict) -> str:
    """Return the given flags with their values as a shell command would have them.

    Passwords and tokens of URLs are hidden.
    """
    kind, words = type(settings), []
    for name in chain.from_iterable(names for _, names in _by_class(kind)):
        if name in settings.model_fields_set:
            value, flag = getattr(settings, name), flag_of(kind, name)
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            elif _extra(kind.model_fields[name], "repeated"):
                words += chain.from_iterable((flag, typed_text(one)) for one in value)
            else:
                words += [flag, public_url(typed_text(value))]
    return shlex.join(words)


def _as_flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class _Parser(argparse.ArgumentParser):
    """Parser that raises errors instead of printing them.

    Attributes:
        choices: the values that a flag may have, by flag, where they can be counted.
    """

    def __init__(self, choices: Mapping[str, str], **options: Any) -> None:
        super().__init__(**options)
        self.choices = choices

    def error(self, message: str) -> NoReturn:
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            raise DetectorError(f"{missing} is missing")
        message = message.removeprefix("argument ")
        flag = message.removesuffix(": expected one argument")
        if flag in self.choices:
            message = f"{flag}: expected one of {self.choices[flag]}"
        raise DetectorError(message)


def _parser(settings: type[Strict], program: str) -> argparse.ArgumentParser:
    """Build a parser with one flag per field; inherited fields are grouped by their class."""
    fields = settings.model_fields
    required = [
        _extra(field, "positional") or f"{flag_of(settings, name)} {_metavar_of(field)}"
        for name, field in fields.items()
        if field.is_required()
    ]
    parser = _Parser(
        {
            flag_of(settings, name): ", ".join(map(str, get_args(_type(field.annotation))))
            for name, field in fields.items()
            if get_origin(_type(field.annotation)) is Literal
        },
        prog=program,
        usage=" ".join([program, *required, "[flags]"]),
        description=summary(settings),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for kind, names in _by_class(settings):
        group: Any = parser if kind is settings else parser.add_argument_group(_title(kind))
        for name in names:
            _add_flag(group, flag_of(settings, name), name, fields[name])
    return parser


def _by_class(settings: type[Strict]) -> Iterator[tuple[type[Strict], list[str]]]:
    """Yield the class and its bases, each with the fields that it declares first."""
    left = set(settings.model_fields)
    for kind in settings.__mro__:
        if issubclass(kind, Strict):
            own = [name for name in inspect.get_annotations(kind) if name in left]
            left.difference_update(own)
            yield kind, own


def summary(settings: type[Strict]) -> str:
    """Return the first line of a settings class's docstring, which help texts show."""
    return (settings.__doc__ or "").strip().partition("\n")[0]


def _title(kind: type[Strict]) -> str:
    return summary(kind).rstrip(".")


def _add_flag(group: Any, flag: str, name: str, field: FieldInfo) -> None:
    options: dict[str, Any] = {"dest": name, "help": _help(field)}
    kind = _type(field.annotation)
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["metavar"] = _metavar_of(field)
    if _extra(field, "repeated"):
        options["action"] = "append"
    elif get_origin(kind) is tuple:
        options["type"] = _parse_list
    if alone := _extra(field, "alone"):
        options |= {"nargs": "?", "const": alone}
    if word := _extra(field, "positional"):
        several = {"nargs": "*"} if _holds_several_words(field) else {}
        group.add_argument(name, metavar=word, help=options["help"], **several)
    else:
        group.add_argument(flag, **options)


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    if field.is_required():
        return f"{text} (required)"
    if field.default is None and "default:" in text:  # the description explains the default
        return text
    default = "none" if field.default in (None, ()) else typed_text(field.default)
    return f"{text} (default: {default})"


def _metavar_of(field: FieldInfo) -> str:
    """Return the word for a field's value in help texts; of one value, if the flag is repeated."""
    kind = _type(field.annotation)
    return _metavar(get_args(kind)[0] if _extra(field, "repeated") else kind)


def _metavar(annotation: Any) -> str:
    kind = _type(annotation)
    if get_origin(kind) is Literal:
        return f"{{{','.join(get_args(kind))}}}"
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return "JSON" if _type(item) is dict else f"{_metavar(item)},..."
    return {int: "INT", float: "NUMBER", str: "TEXT"}.get(kind, "PATH")


def _type(annotation: Any) -> Any:
    """Return the plain type in an annotation: ``int`` for ``Annotated[int, …] | None``."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = get_args(annotation)[0]
    return dict if get_origin(annotation) is dict else annotation


def _parse_list(text: str) -> Any:
    """Parse ``a,b`` or a JSON list to a list."""
    if not text.startswith("["):
        return text.split(",")
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a JSON list ({error}), found {text!r}") from error


def _unexpected(rest: Sequence[str], settings: type[Strict], suggest: Suggest) -> str:
    """Return the error about the first word that no flag takes, with a hint on what to write."""
    word, equals, value = rest[0].partition("=")
    if not word.startswith("-"):
        hint = _assigned(word, value, settings, suggest) if equals else suggest(word, value)
        hint = hint or "; several values are written as a,b,c"
        return f"unexpected word {rest[0]!r}{hint}"
    elsewhere = settings.elsewhere(word[2:].replace("-", "_"), _as_flag)
    if elsewhere:
        return f"{word} {elsewhere}"
    if not equals and len(rest) > 1 and not rest[1].startswith("-"):
        value = rest[1]
    hint = suggest(word, value) or (_nearest_flag(word, settings) if word[:2] == "--" else "")
    return f"unknown flag {word!r}{hint or '; see --help'}"


def _assigned(name: str, value: str, settings: type[Strict], suggest: Suggest) -> str:
    """Return a hint for ``data=x``: use ``--data x``, or the counterpart of a foreign word."""
    flags = {flag_of(settings, field): field for field in settings.model_fields}
    flag = _as_flag(name)
    if flag not in flags:
        return suggest(name, value)
    if _type(settings.model_fields[flags[flag]].annotation) is bool:
        is_off = value.lower() in ("false", "no", "off", "0")
        return f": use {flag.replace('--', '--no-', 1) if is_off else flag}"
    return f": use {shlex.join([flag, value])}"


def _nearest_flag(word: str, settings: type[Strict]) -> str:
    names = []
    for name, field in settings.model_fields.items():
        if _extra(field, "positional"):
            continue
        bare = flag_of(settings, name)[2:]
        names += [bare, f"no-{bare}"] if _type(field.annotation) is bool else [bare]
    hint = nearest(word[2:], [name for name in names if name.startswith(word[2:])] or names)
    return hint.replace("'", "'--", 1)


def _bad_value(settings: type[Strict], issue: Any) -> str:
    name = str(issue["loc"][0])  # pydantic names a field by its alias
    flag = flag_of(settings, name) if name in settings.model_fields else _as_flag(name)
    if issue["type"] == "missing":
        return f"{flag} is missing"
    return explain(settings, {**issue, "loc": (flag,)})
