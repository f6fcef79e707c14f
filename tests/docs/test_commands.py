"""Commands of the pages: each line of a tool is parsed by the tool's own flags."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from detector.cli.flags import flag_of, parse
from detector.cli.tools import SCRIPTS, TOOLS
from detector.serve.query import DetectQuery, read_query
from detector.settings.common import ToolSettings
from detector.settings.heads import HEAD_SETTINGS
from detector.settings.train import settings_of_heads
from detector.utils.errors import DetectorError
from detector.utils.synonyms import find
from docs.measure.entries import MEASUREMENTS
from tests.docs.pages import (
    PAGES,
    ROOT,
    TEXTS,
    Block,
    blocks_of,
    codes,
    commands,
    table_rows,
    without_blocks,
)

FLAG = re.compile(r"(?<![\w/-])--(no-)?([a-z][a-z0-9-]*)")
OURS = re.compile(r"--|detector |torchrun .*detector |(python )?tools/")
"""Beginning of a piece of code whose flags are those of the tools."""

STARTS = r"(detector|torchrun|python3?|pip|curl|pytest) "
"""Beginnings of commands, which stand in blocks of ``sh``."""

OTHER_PROGRAMS = {".", "bash", "build", "pre-commit", "python3", "twine"}
"""Programs of whose commands nothing is ours to check."""

ASSIGNMENT = re.compile(r"\w+=")

OTHER_FLAGS = {
    "nproc-per-node",
    "nnodes",
    "rdzv-backend",
    "rdzv-endpoint",
    "resolution",
    "version",
    "help",
}
"""Flags of torchrun, of uv, and of the command itself."""

THEIRS = {"ultralytics", "yolov5", "torchvision", "timm"}
"""Pages ``from_….md``, which name flags of other projects."""


def settings_of(tool: str) -> type[ToolSettings]:
    """Return the class of a tool's flags; for train, with those of all heads."""
    return settings_of_heads(HEAD_SETTINGS) if tool == "train" else TOOLS[tool].settings


def tool_and_words(command: str) -> tuple[str, list[str]] | None:
    """Split a command into tool and flags; None for another program's.

    >>> tool_and_words("python tools/benchmark.py train --imgsz 320")
    ('benchmark train', ['--imgsz', '320'])
    """
    words = [word for word in shlex.split(command) if word != "…"]
    if words[0] == "torchrun":
        start = next(
            i for i, word in enumerate(words) if word.startswith("tools/") or word == "detector"
        )
        words = words[start:]
    elif words[:3] == ["python", "-m", "detector"]:
        words = words[2:]
    elif words[0] == "python" and words[1].startswith("tools/"):
        words = words[1:]
    if words[0].startswith("tools/"):
        words[0] = words[0].removeprefix("tools/").removesuffix(".py")
    elif words[0] == "detector" and len(words) > 1:
        words = words[1:]
    else:
        return None
    if words[0] not in SCRIPTS:
        raise DetectorError(f"no tool: {words[0]}")
    subject = " ".join(words[:2])
    return (subject, words[2:]) if subject in TOOLS else (words[0], words[1:])


SHELL = blocks_of("sh")
IN_A_TABLE = 0
"""Line of commands in cells of tables, which are parts of whole ones."""

IN_TABLES = [
    Block(file, IN_A_TABLE, "sh", code)
    for file in TEXTS
    for row in table_rows(file)
    for cell in row
    for code in codes(cell)
    if re.match(r"(detector|python tools/\w+\.py) .*--", code)
]


@pytest.mark.parametrize("block", [*SHELL, *IN_TABLES], ids=str)
def test_flags_of_commands(block: Block) -> None:
    for command in commands(block.text):
        try:
            found = tool_and_words(command)
            if found is not None and found[1] != ["--help"]:
                parse(settings_of(found[0]), found[1], found[0])
        except DetectorError as error:
            left_out = "…" in command or block.line == IN_A_TABLE
            if not (left_out and str(error).endswith(("is missing", "expected one argument"))):
                pytest.fail(f"{command}: {error}")


def test_wrong_commands_are_found() -> None:
    tool, words = tool_and_words("torchrun --nproc-per-node 2 -m detector val --dta x") or ("", [])
    with pytest.raises(DetectorError, match="unknown flag '--dta'; did you mean '--data'?"):
        parse(settings_of(tool), words, tool)
    with pytest.raises(DetectorError, match="no tool: trian"):
        tool_and_words("python tools/trian.py")
    assert tool_and_words("pip install x") is None


def test_commands_stand_in_blocks_of_sh() -> None:
    """A block without a language shows output and trees of files."""
    hidden = [str(block) for block in blocks_of("") if re.match(STARTS, block.text)]
    assert hidden == []


# ----------------------------------------------------------------- commands of other programs


def flags_of(file: Path) -> set[str]:
    """Return the flags of a program that parses them with argparse."""
    return set(re.findall(r'add_argument\(\s*"--([a-z-]+)"', file.read_text(encoding="utf-8")))


def flags_of_scripts() -> set[str]:
    """Return the flags of the project's other programs."""
    folders = ("docs", "examples", "tests")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return {flag for file in files for flag in flags_of(file)}


def declared(key: str) -> set[str]:
    """Return the names before ``=`` or ``:`` of a part of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    part = text[text.index(key) + len(key) :].partition("\n[")[0]
    return set(re.findall(r"^ *\"?(\w+)(?: =|:)", part, re.M))


def check_install(words: list[str]) -> None:
    """Check that files of requirements and extras exist."""
    for previous, word in zip(["", *words], words, strict=False):
        if previous == "-r":
            assert (ROOT / word).is_file(), word
        elif found := re.fullmatch(r"(?:\.|repdet)\[(.*)\]", word):
            assert set(found[1].split(",")) <= declared("[project.optional-dependencies]"), word


def test_each_extra_is_in_the_table_of_what_to_install() -> None:
    rows = table_rows(ROOT / "docs" / "start.md")
    named = {extra for row in rows for extra in re.findall(r'"\.\[(\w+)\]"', row[0])}
    assert named == declared("[project.optional-dependencies]")


def check_tests(words: list[str]) -> None:
    """Check that files of tests and markers exist."""
    for previous, word in zip(["", *words], words, strict=False):
        if previous == "-m":
            assert word in declared("markers = ["), word
        elif word.startswith("tests"):
            assert (ROOT / word).exists(), word


def check_script(script: str, words: list[str]) -> None:
    """Check that a program of the checkout exists and has the flags."""
    file = ROOT / script
    assert file.is_file(), script
    assert {flag for _, flag in FLAG.findall(" ".join(words))} <= flags_of(file), script


def check_request(words: list[str]) -> None:
    """Check the path of a request to the server, and its parameters."""
    (url,) = (urlsplit(word) for word in words if word.startswith("http://"))
    query = [(name, value) for name, value in parse_qsl(url.query)]
    assert url.path == "/v1/detect", url.path
    read_query(DetectQuery, query)


def check_other(command: str) -> None:
    """Check what is ours in a command of another program."""
    words = [word for word in shlex.split(command) if not ASSIGNMENT.match(word)]
    match words:
        case ["pip", "install", *rest]:
            check_install(rest)
        case ["python", "-m", "pytest", *rest]:
            check_tests(rest)
        case ["python", "-m", "docs.measure", *rest]:
            names = [word for word in rest if "=" not in word and not word.startswith("--")]
            assert set(names) <= set(MEASUREMENTS), command
        case ["python", "-m", "sphinx", *_, source, _]:
            assert (ROOT / source / "conf.py").is_file()
        case ["python", "-m", program, *_]:
            assert program in OTHER_PROGRAMS, command
        case ["python", script, *rest]:
            check_script(script, rest)
        case ["curl", *rest]:
            check_request(rest)
        case [program, *_]:
            assert program in OTHER_PROGRAMS, command


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_of_other_programs(block: Block) -> None:
    for command in commands(block.text):
        if tool_and_words(command) is None:
            check_other(command)


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("pip install -r requirement.txt", "requirement.txt"),
        ('pip install ".[runtme]"', "runtme"),
        ("python -m pytest -m slwo", "slwo"),
        ("A=1 python -m pytest tests/no_such", "tests/no_such"),
        ("python examples/ray_batch.py a.onnx --wrokers 4", "wrokers"),
        ("python examples/ray_bath.py a.onnx", "ray_bath"),
        ("curl http://127.0.0.1:8000/v1/detct", "/v1/detct"),
        ("python -m docs.measure model-cost", "model-cost"),
        ("cargo run", "cargo run"),
    ],
)
def test_wrong_commands_of_other_programs_are_found(command: str, found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        check_other(command)


def test_a_wrong_parameter_of_a_request_is_found() -> None:
    with pytest.raises(DetectorError, match="did you mean 'confidence'"):
        check_other('curl "http://127.0.0.1:8000/v1/detect?confidance=0.4"')


# ------------------------------------------------------------------------- flags in sentences


ALL_FLAGS = {
    flag_of(settings_of(tool), name)[2:]
    for tool in TOOLS
    for name in settings_of(tool).model_fields
}
KNOWN = ALL_FLAGS | OTHER_FLAGS | flags_of_scripts()


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_flags_in_sentences_exist(file: Path) -> None:
    """Each is a flag of some tool; in pages of other projects those of the last cell are."""
    text = without_blocks(file)
    if file.stem.partition("from_")[2] in THEIRS:
        text = "\n".join(row[-1] for row in table_rows(file))
    ours = [code for code in codes(text) if OURS.match(code)]
    named = {name for code in ours for _, name in FLAG.findall(code)}
    assert named - KNOWN == set()


# ------------------------------------------------------------------------ words of other projects

WORD_ROWS = [
    (file.name, row)
    for file in PAGES
    if file.stem.startswith("from_")
    for row in table_rows(file)
    if len(row) == 3 and row[0].startswith("`")
]


@pytest.mark.parametrize(("page", "row"), WORD_ROWS, ids=lambda value: str(value)[:60])
def test_our_words_are_flags_of_the_tools(page: str, row: list[str]) -> None:
    """Each of ours is a flag of the row's tools; where the error knows the word, they agree.

    A word and its flag stand at the same place of both lists, where these are of one length.
    """
    theirs, tools, ours = codes(row[0]), row[1].split(", "), codes(row[2])
    flags = [code.split()[0].replace("--no-", "--") for code in ours if code.startswith("--")]
    for tool in tools:
        kind = settings_of(tool)
        known = {flag_of(kind, field) for field in kind.model_fields}
        assert set(flags) <= known, (page, tool)
    for number, word in enumerate(theirs):
        name, _, value = word.partition("=")
        for tool in tools:
            answer = find(tool, name, value).replace("--no-", "--")
            if answer.startswith("--") and " " not in answer and len(flags) == len(theirs):
                assert flags[number] == answer, (word, tool)
            elif answer.startswith("--") and flags:
                assert answer.split()[0] in flags, (word, tool, answer)


def test_there_are_such_rows() -> None:
    assert len(WORD_ROWS) > 60
    assert len(SHELL) > 40
    assert len(IN_TABLES) > 15
