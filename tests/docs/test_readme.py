"""README.md as a newcomer follows it: each command and each line of Python is run, on tiny images.

Its Python is run by test_run.py, what is installed is checked by test_commands.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detector.cli import run_tool
from detector.cli.flags import parse
from tests.docs.conftest import QUICK
from tests.docs.pages import README, ROOT, blocks, codes, commands, table_rows, without_blocks
from tests.docs.test_commands import settings_of, tool_and_words

MOST_LINES = 110
"""One and a half screens."""

MOST_BYTES = 200_000
"""Size of a picture, which each visitor loads."""

COMMANDS = [
    found
    for block in blocks(README, "sh")
    for command in commands(block.text)
    if (found := tool_and_words(command)) is not None
]


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_its_picture_is_small() -> None:
    pictures = re.findall(r"!\[.*\]\((.*)\)", without_blocks(README))
    assert [(ROOT / picture).stat().st_size < MOST_BYTES for picture in pictures] == [True]


def quick(tool: str, words: list[str]) -> list[str]:
    """Return the words of a command, with those that make a training take seconds."""
    if tool != "train":
        return words
    fast = [
        f"--no-{name}" if value is False else f"--{name}={value}" for name, value in QUICK.items()
    ]
    return [*words, *fast]


@contextmanager
def served(words: list[str], folder: Path) -> Iterator[str]:
    """Run ``detector serve`` in a process of its own; the value is its URL."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from detector.cli import main; "
    command = [sys.executable, "-c", f"{code}sys.exit(main(sys.argv[1:]))", "serve", *words]
    with subprocess.Popen(
        [*command, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield next(
                found[1]
                for line in process.stdout
                if (found := re.match(r"listens on (http://\S+);", line))
            )
        finally:
            process.terminate()


def fetch(url: str, body: bytes | None = None) -> str:
    request = urllib.request.Request(url, body, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.slow
def test_commands_one_after_the_other(work: Path, start_weights: Path) -> None:
    """From the drawn shapes to a file in INT8 on a page."""
    *others, (last, weights) = COMMANDS
    assert (len(others), last) == (5, "serve")
    for tool, words in others:
        assert run_tool(tool, quick(tool, words)) == 0, (tool, words)
    with served(weights, work) as url:
        assert "<title>" in fetch(url)
        answer = json.loads(fetch(f"{url}/v1/detect", (work / "images" / "c.png").read_bytes()))
    assert [one["size_hw"] for one in answer["images"]] == [[64, 64]]


def test_a_command_with_a_wrong_flag_would_be_found() -> None:
    tool, words = COMMANDS[0]
    assert parse(settings_of(tool), quick(tool, words), tool).limit == QUICK["limit"]
    assert run_tool(tool, [*words, "--epohcs", "1"]) == 2


def test_the_error_that_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = (row[1] for row in table_rows(README) if row[0].startswith("An error is one line"))
    command, message = codes(cell)
    tool, *words = command.split()
    assert run_tool(tool, words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
