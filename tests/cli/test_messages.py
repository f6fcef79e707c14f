"""Log messages appear on the terminal of a tool, and nowhere without one."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tqdm import tqdm

from detector.cli.messages import messages_on_terminal

ROOT = Path(__file__).resolve().parents[2]
logger = logging.getLogger("detector.engine.setup")


def test_lines_are_plain_and_warnings_go_to_stderr(capsys):
    with messages_on_terminal():
        logger.info("100 %s of two\nlines")
        logger.debug("a detail")
        logger.warning("beware")
    logger.info("afterwards")
    assert capsys.readouterr() == ("100 %s of two\nlines\n", "warning: beware\n")


def test_messages_and_prints_keep_their_order(capsys):
    with messages_on_terminal():
        print("a")
        logger.info("b")
        print("c")
    assert capsys.readouterr().out == "a\nb\nc\n"


def test_a_program_that_configured_logging_is_left_alone(capsys, caplog):
    """Neither twice while a tool runs, nor quiet afterwards."""
    own = logging.getLogger("detector")
    before = (own.level, own.propagate, list(own.handlers))
    caplog.set_level("INFO")
    with suppress(KeyError), messages_on_terminal():
        logger.info("once")
        raise KeyError
    assert (own.level, own.propagate, own.handlers) == before
    assert (capsys.readouterr().out, caplog.messages) == ("once\n", [])
    logger.info("after")
    assert caplog.messages == ["after"]


def test_of_several_processes_the_main_one_writes(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with messages_on_terminal():
        logger.info("twice")
        logger.warning("beware")
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_not_broken(monkeypatch):
    """It is cleared before the line, and drawn again behind it."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    bar = tqdm(total=2, file=terminal, desc="epoch 1", ncols=40, mininterval=0)
    with messages_on_terminal():
        logger.info("a line")
    bar.close()
    before, after = terminal.getvalue().split("a line\n")
    assert before.endswith("\r")
    assert after.startswith("\repoch 1:   0%")


def test_a_reader_that_has_left_ends_the_tool(monkeypatch):
    """As it would end print: an error is not swallowed."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError), messages_on_terminal():
        logger.info("a line")


PROGRAM = """
import logging, sys
import detector
if sys.argv[1:]:
    logging.basicConfig(level=sys.argv[1], format="%(levelname)s %(name)s: %(message)s")
logger = logging.getLogger("detector.engine.setup")
logger.info("a line")
logger.warning("beware")
"""


@pytest.mark.parametrize(
    ("words", "err"),
    [
        ([], ""),
        (["WARNING"], "WARNING detector.engine.setup: beware\n"),
        (
            ["INFO"],
            "INFO detector.engine.setup: a line\nWARNING detector.engine.setup: beware\n",
        ),
    ],
)
def test_python_decides_what_it_wants_to_read(words: list[str], err: str):
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", err)


def test_only_the_tools_print():
    """Elsewhere a message is logged, so that a program is not written to that did not ask."""
    allowed = {"cli", "benchmarks"}
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "detector").rglob("*.py"))
        if path.relative_to(ROOT / "detector").parts[0] not in allowed
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.lstrip().startswith("print(")
    ]
    assert found == []
