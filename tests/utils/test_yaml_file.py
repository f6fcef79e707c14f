"""YAML with positions, and settings checked with one readable line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.utils import yaml_file as yaml_file_module
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import (
    Strict,
    YamlFile,
    explain,
    first_issue,
    read_yaml,
    validate,
)

TEXT = """\
# a comment line
name: a   # behind a value
rows:
  - [1, 2,
     3]   # of three
  - {deep: [x, "# none"]}#glued
empty:
"""


def yaml_file(text: str) -> YamlFile:
    return YamlFile(Path("a.yaml"), text)


def message_of(text: str) -> str:
    with pytest.raises(DetectorError) as caught:
        yaml_file(text)
    return str(caught.value)


# ------------------------------------------------------------------------------------ reading


def test_values_and_lines() -> None:
    file = yaml_file(TEXT)
    assert file.value == {
        "name": "a",
        "rows": [[1, 2, 3], {"deep": ["x", "# none"]}],
        "empty": None,
    }
    assert file.line() == 2  # where the mapping begins
    assert file.line("rows") == 3  # the key, not the value behind it
    assert file.line("rows", 0) == 4
    assert file.line("rows", 0, 2) == 5
    assert file.line("rows", 1, "deep", 0) == 6
    assert file.line("rows", 9, "nothing") == 3  # the nearest parent that exists
    assert file.line("nothing") == 2


def test_comments_stand_behind_values() -> None:
    assert yaml_file(TEXT).comments == {2: "behind a value", 5: "of three", 6: "glued"}


@pytest.mark.parametrize("text", ["", "# only this\n", "---\n", "\ufeff"])
def test_empty_documents(text: str) -> None:
    assert yaml_file(text).value is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),  # a word in YAML 1.1
        ("-2E+4", -2e4),
        ("1.5e3", "1.5e3"),  # YAML 1.1 wants the sign: 1.5e+3
        ("0x10", 16),
        ("1_000", 1000),
        ("yes", True),
        ("'yes'", "yes"),
        ("~", None),
        ("!!str 5", "5"),
        ("e5", "e5"),
        ("&a [1]", [1]),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = yaml_file(text).value
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: 0.5\nepochs: 010", "2: epochs: 010"),
        ("epochs: 1:30", "1: epochs: 1:30"),
        ("sizes: [1, -07]", "1: sizes.1: -07"),
        ("name: [08]\nsizes: [1, 02, 03]\nepochs: 04", "2: sizes.1: 02"),
    ],
)
def test_settings_that_are_numbers_in_yaml_1_1_only(text: str, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        validate(Numbers, yaml_file(text))
    assert str(caught.value) == (
        f"a.yaml:{message} has several meanings in YAML, expected a plain number"
    )


def test_plain_numbers_and_texts_of_settings() -> None:
    found = validate(
        Numbers, yaml_file("epochs: 10\nrate: 0.5\nsizes: [0, 0x10, 1_0]\nname: '010'")
    )
    assert found == Numbers(epochs=10, rate=0.5, sizes=(0, 16, 10), name="010")
    assert validate(Numbers, yaml_file("name: [010]")).name == [8]  # the model's own concern


class Numbers(Strict):
    """Settings of each kind."""

    epochs: int = 1
    rate: float = 1.0
    sizes: tuple[int, ...] = ()
    name: Any = None


def test_numbers_and_dates_as_written() -> None:
    file = yaml_file("a: [010, x]\nb: {c: 1:30, d: 2024-01-01, e: no}\n")
    values = file.value["a"], file.value["b"]
    assert values[0] == [8, "x"]  # 0·64 + 1·8 + 0
    assert values[1]["c"] == 90  # 1·60 + 30
    assert file.as_written(8, "a", 0) == "010"
    assert file.as_written("x", "a", 1) == "x"
    assert file.as_written(90, "b", "c") == "1:30"
    assert file.as_written(None, "b", "d") == "2024-01-01"
    assert file.as_written(False, "b", "e") is False  # "no" may be meant as either


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "a.yaml:1: YAML syntax: expected ',' or ']', but got '<stream end>' "
         "(while parsing a flow sequence from line 1)"),
        ("a: 1\na: 2", "a.yaml:2: key 'a' appears twice"),
        ("1: a\n0x1: b", "a.yaml:2: key 1 appears twice"),
        ("a: !!set {x}", "a.yaml:1: tag '!!set' is not allowed, a file holds plain values only"),
        ("a: 1\nb: !new x", "a.yaml:2: tag '!new' is not allowed, a file holds plain values only"),
        ("<<: {a: 1}", "a.yaml:1: tag '!!merge' is not allowed, a file holds plain values only"),
        ("a: !!int word", "a.yaml:1: unreadable value 'word': invalid literal for int() with base "
         "10: 'word'"),
        ("a: !!timestamp word", "a.yaml:1: unreadable value 'word': "),
        ("a: !!bool word", "a.yaml:1: unreadable value 'word': 'word'"),
        ("a: !!int ''", "a.yaml:1: unreadable value '': string index out of range"),
        ("a\n\nb\0", "a.yaml:3: YAML syntax: character '\\x00' is not allowed"),
        ("[" * 66, "a.yaml:1: YAML syntax: nested deeper than 64 levels"),
        ("&a [*a]", "a.yaml:1: is nested deeper than 64 levels"),
    ],
)  # fmt: skip
def test_bad_text(text: str, message: str) -> None:
    assert message_of(text).startswith(message)


def test_depth_limit_is_exact() -> None:
    assert yaml_file("[" * 64 + "]" * 64).value
    assert "nested deeper" in message_of("[" * 65 + "1" + "]" * 65)


def test_aliases_count_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file_module, "MAX_YAML_NODES", 20)
    text = "- &a [1, 2, 3]\n- [*a, *a]\n"  # 1 + (1 + 3) + (1 + 2·4) = 14 values
    assert yaml_file(text).value == [[1, 2, 3], [[1, 2, 3], [1, 2, 3]]]
    assert message_of(text + "- [*a, *a]\n").endswith(": expands to more than 20 values")


def test_nodes_are_counted_while_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file_module, "MAX_YAML_NODES", 20)
    text = "- [1, 1, 1, 1, 1, 1, 1, 1]\n"  # 1 + 2 · (1 + 8) = 19 values
    assert yaml_file(text * 2).value == [[1] * 8] * 2
    assert message_of(text * 3) == "a.yaml:3: YAML syntax: more than 20 values"


@pytest.mark.parametrize(
    "number", ["9" * 101, "0x" + "f" * 99, "1:1" + ":1" * 49, "1" * 99 + ".0", "!!int " + "a" * 101]
)
def test_long_numbers_are_not_read(number: str) -> None:
    message = message_of(f"- 1\n- {number}")
    assert message.startswith("a.yaml:2: unreadable value '")
    assert message.endswith("...: 101 characters, at most 100 are read")


def test_long_words_and_numbers_of_the_longest_kind_are_read() -> None:
    assert yaml_file("9" * 100).value == int("9" * 100)
    assert yaml_file("x" * 1000).value == "x" * 1000


def test_a_text_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a checkpoint holds it: a file's size is looked at before it is read."""
    monkeypatch.setattr(yaml_file_module, "MAX_YAML_BYTES", 10)
    assert yaml_file("a: 1 #3456").value == {"a": 1}
    assert message_of("a: 1 #34567") == "a.yaml: has 11 characters, at most 10 are read"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    message = "a.yaml:"
    try:
        yaml_file(text)
    except DetectorError as error:
        message = str(error)
    assert message.startswith("a.yaml:")
    assert len(message.splitlines()) == 1


def test_read_yaml(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: größe", encoding="utf-8")
    assert read_yaml(file).value == {"name": "größe"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: gr\xf6\xdfe", "is not UTF-8 text"),
        (b"#" * ((1 << 20) + 1), "has more than 1048576 bytes"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_unreadable_file(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DetectorError) as caught:
        read_yaml(file)
    assert str(caught.value) == f"{file}: {message}"


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r": is not a regular file, expected a YAML file$"):
        read_yaml(tmp_path)


# ----------------------------------------------------------------------------------- checking


class Inner(Strict):
    rate: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.5


class Settings(Strict):
    epochs: Annotated[int, pydantic.Field(ge=1)] = 10
    mode: Literal["fast", "exact"] = "fast"
    verbose: bool = False
    sizes: tuple[int, ...] = ()
    inner: Inner | None = None
    table: dict[str, Inner] = {}
    name: str
    even: int = 0

    @pydantic.field_validator("even")
    @classmethod
    def check_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("Expected an even number")
        return value


GOOD = "name: a\n"


def test_good_settings() -> None:
    settings = validate(Settings, yaml_file(GOOD + "inner: {rate: 1}\nsizes: [1, 2]\n"))
    assert settings == Settings(name="a", inner=Inner(rate=1.0), sizes=(1, 2))


def test_part_of_a_file() -> None:
    file = yaml_file("a: 1\nb:\n  rate: 0.1\nc:\n  rate: 5\n")
    assert validate(Inner, file, file.value["b"], ("b",)).rate == 0.1
    with pytest.raises(DetectorError) as caught:
        validate(Inner, file, file.value["c"], ("c",))
    assert str(caught.value) == "a.yaml:5: rate: expected at most 1, found 5"


KNOWN = "known keys: epochs, mode, verbose, sizes, inner, table, name, even"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: expected a mapping of settings, found nothing"),
        ("[1]", "1: expected a mapping of settings, found list"),
        ("epochs: 3\n", "1: key 'name' is missing"),
        ("epochs: 3\nnaem: a\n", "2: unknown key 'naem'; did you mean 'name'?"),
        (GOOD + "colour: 3\n", f"2: unknown key 'colour'; {KNOWN}"),
        (GOOD + "5: 3\n", f"2: unknown key '5'; {KNOWN}"),
        (GOOD + "inner:\n  rat: 3\n", "3: unknown key 'inner.rat'; did you mean 'rate'?"),
        (GOOD + "table:\n  a: {}\n  b: {x: 1}\n", "4: unknown key 'table.b.x'; known keys: rate"),
        (GOOD + "epochs: many\n", "2: epochs: expected a whole number, found 'many'"),
        (GOOD + "epochs: 1.5\n", "2: epochs: expected a whole number, found 1.5"),
        (GOOD + "epochs: 0\n", "2: epochs: expected at least 1, found 0"),
        (GOOD + "inner: {rate: 0}\n", "2: inner.rate: expected more than 0, found 0"),
        (GOOD + "inner: {rate: .nan}\n", "2: inner.rate: expected a finite number, found nan"),
        (GOOD + "inner: {rate: [1]}\n", "2: inner.rate: expected a number, found [1]"),
        (GOOD + "inner: 3\n", "2: inner: expected a mapping, found 3"),
        (GOOD + "mode: slow\n", "2: mode: expected 'fast' or 'exact', found 'slow'"),
        (GOOD + "verbose: 7\n", "2: verbose: expected true or false, found 7"),
        (GOOD + "sizes: 3\n", "2: sizes: expected a list, found 3"),
        (GOOD + "sizes:\n  - 1\n  - x\n", "4: sizes.1: expected a whole number, found 'x'"),
        (GOOD + "even: 3\n", "2: even: expected an even number, found 3"),
        ("name: [1]\n", "1: name: expected a word, found [1]"),
        (GOOD + f"epochs: {'x' * 99}\n",
         f"2: epochs: expected a whole number, found '{'x' * 56}..."),
    ],
)  # fmt: skip
def test_bad_settings(text: str, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        validate(Settings, yaml_file(text))
    assert str(caught.value) == f"a.yaml:{message}"


def test_settings_do_not_change() -> None:
    settings = Settings(name="a")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.epochs = 3


def test_settings_made_in_python_fail_in_one_line() -> None:
    """Errors are those for values in a file, without the file, and not pydantic's several lines."""
    for values, message in (
        ({"name": "a", "epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'?"),
        ({"nane": "a"}, "unknown key 'nane'; did you mean 'name'?"),  # before the one that it lacks
        ({}, "key 'name' is missing"),
        ({"name": "a", "epochs": 0}, "epochs: expected at least 1, found 0"),
        ({"name": "a", "inner": {"rat": 1}}, "unknown key 'inner.rat'; did you mean 'rate'?"),
    ):
        with pytest.raises(DetectorError) as caught:
            Settings(**values)
        assert str(caught.value) == message
        assert caught.value.__suppress_context__  # a traceback shows this line alone


class Named(Strict):
    files: dict[str, int] = {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"files": {"a": "x"}}, "files.a: expected a whole number, found 'x'"),
        ({"files": {"a\nb": "x"}}, r"files.'a\nb': expected a whole number, found 'x'"),
        ({"files": {"y" * 70: 1.5}}, f"files.'{'y' * 56}...: expected a whole number, found 1.5"),
        ({"a\nb": 1}, r"unknown key 'a\nb'; known keys: files"),
        ({"flies": 1}, "unknown key 'flies'; did you mean 'files'?"),
    ],
)
def test_keys_are_shown_in_one_line(content: dict[str, object], message: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Named.model_validate(content)
    assert explain(Named, first_issue(caught.value)) == message
