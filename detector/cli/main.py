"""Entry points of the command line: parse flags, call a tool, and print errors in one line."""

from __future__ import annotations

import importlib
import io
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from typing import Any

from detector import __version__
from detector.cli.flags import parse, summary
from detector.cli.messages import messages_on_terminal
from detector.cli.outcome import EXIT_SIGNAL, Outcome
from detector.cli.tools import SCRIPTS, TOOLS
from detector.utils import synonyms, system
from detector.utils.errors import DetectorError, Interrupted, nearest, one_line
from detector.utils.files import write_text
from detector.utils.requirements import extra_with

EXIT_ERROR = 2
"""Exit code after an error."""

VERSION_FLAG = "--version"
VERSION = f"detector {__version__}"

STDERR = 2
"""Number of the last standard stream."""
SIGPIPE = 13
"""Number of the signal for a pipe whose reader has closed it; Windows does not define it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script, ``detector train …``, and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_overview("detector"))
        return 0 if words else EXIT_ERROR
    if words[0] == VERSION_FLAG:
        print(VERSION)
        return 0
    if words[0] not in SCRIPTS:
        return _fail(f"unknown subcommand {words[0]!r}{_nearest_tool(words)}")
    return run_tool(words[0], words[1:], program=f"detector {words[0]}")


def run_tool(name: str, arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run one tool with its flags.

    Args:
        name: the tool, such as ``train``.
        arguments: its flags; default: those of the process.
        program: name of the program in help texts; default: the script in ``tools/``.

    Returns:
        The exit code: 0, that of an :class:`~detector.cli.outcome.Outcome`, 2 after an error of one
        line on stderr, or 128 + number of a signal.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    program = program or f"tools/{name}.py"
    _open_closed_streams()
    _replace_unencodable_characters()
    try:
        _check_words(words)
        code = _run(name, words, program)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        if system.is_main():
            print(str(stop) or "interrupted", file=sys.stderr)
        return EXIT_SIGNAL + (
            stop.signal_number if isinstance(stop, Interrupted) else signal.SIGINT
        )
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            return EXIT_SIGNAL + SIGPIPE
        if "--debug" in words:
            raise
        code = _fail(_error_line(error))
        if not _can_print():
            _discard_output()
    return code


def _run(name: str, words: list[str], program: str) -> int:
    """Run a tool; for a tool with subjects, the first word selects the subject."""
    if VERSION_FLAG in words:
        print(VERSION)
        return 0
    subjects = [key.split()[1] for key in TOOLS if key.startswith(f"{name} ")]
    if subjects:
        if not words or words[0] not in subjects:
            return _choose_subject(program, name, subjects, words)
        name, program, words = f"{name} {words[0]}", f"{program} {words[0]}", words[1:]
    tool = TOOLS[name]
    kind = _import_function(tool.settings_for)(words) if tool.settings_for else tool.settings
    settings = parse(kind, words, program, partial(synonyms.flag_hint, name))
    with _print_in_main_only(), messages_on_terminal():
        metrics = _import_function(tool.function)(settings)
    metrics, code = metrics if isinstance(metrics, Outcome) else Outcome(metrics)
    if settings.json_file is not None and system.is_main():
        write_text(settings.json_file, json.dumps(metrics, indent=1) + "\n")
    return code


def _reader_has_left() -> bool:
    """Return whether the reader of stdout has closed the pipe, as ``| head`` does."""
    if os.name != "posix":
        return False
    output = select.poll()
    output.register(sys.stdout, 0)
    if not any(event & select.POLLERR for _, event in output.poll(0)):
        return False
    _discard_output()
    return True


def _can_print() -> bool:
    """Return whether stdout takes what was printed; a full disk and a closed pipe do not."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _discard_output() -> None:
    """Let the null device take what is still to be printed, as the flush at exit does."""
    with suppress(OSError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Open the null device in place of a closed stdin, stdout or stderr (``>&-``).

    Otherwise the next file to be opened would get its number, and with it what libraries print.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _check_words(words: Sequence[str]) -> None:
    """Raise DetectorError for a word that no system accepts in a file name or prints."""
    for word in words:
        try:
            possible = b"\0" not in os.fsencode(word)
        except UnicodeEncodeError:  # half of a surrogate pair
            possible = False
        if not possible:
            raise DetectorError(f"{ascii(word)}: has a character that no file name can have")


def _replace_unencodable_characters() -> None:
    """Print a question mark for characters such as ``→`` that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def _print_in_main_only() -> Iterator[None]:
    """Discard stdout in all processes but the main one; errors are printed by each process."""
    if system.is_main():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _import_function(path: str) -> Callable[[Any], Any]:
    """Import ``module:function``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _error_line(error: Exception) -> str:
    """Describe an exception in one line.

    One that is neither a DetectorError nor the system's answer about a file is called unexpected.
    """
    if isinstance(error, DetectorError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        names = " → ".join(str(name) for name in (error.filename, error.filename2) if name)
        return str(DetectorError(" ".join(error.strerror.splitlines()), file=names or None))
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("detector"):
        return f"{error.name} is not installed; run: {_command_for(str(error.name))}"
    reason = one_line(str(error))
    return f"unexpected {type(error).__name__}: {reason}; --debug shows where"


def _command_for(package: str) -> str:
    """Return the command that installs a package, else the one that lists what is missing."""
    extra = extra_with(package, system.DISTRIBUTION)
    return f'pip install "{system.DISTRIBUTION}[{extra}]"' if extra else "detector checks"


def _choose_subject(program: str, name: str, subjects: Sequence[str], words: Sequence[str]) -> int:
    """Print the subjects of a tool, or an error if the first word is none; return the exit code."""
    if words and words[0] in ("-h", "--help"):
        print(_overview(program, f"{name} "))
        return 0
    found = f"found {words[0]!r}" if words else "found nothing"
    hint = nearest(words[0], subjects) if words else ""
    return _fail(f"{program}: expected one of {', '.join(subjects)}, {found}{hint}")


def _nearest_tool(words: Sequence[str]) -> str:
    """Return a hint for an unknown subcommand: its counterpart, else the nearest one, else all."""
    word = next((word for word in words if word.startswith("mode=")), words[0])
    word = word.removeprefix("mode=")
    known = word if word in SCRIPTS else synonyms.COMMANDS.get(word.replace("_", "-").lower())
    if known is not None:
        return f": use {known}" if known in SCRIPTS else f": {known}"
    return nearest(word, SCRIPTS) or f"; expected {', '.join(SCRIPTS)}"


def _overview(program: str, prefix: str = "") -> str:
    tools = {
        name.removeprefix(prefix): tool for name, tool in TOOLS.items() if name.startswith(prefix)
    }
    width = max(map(len, tools))
    lines = [f"  {name:{width}}  {summary(tool.settings)}" for name, tool in tools.items()]
    return "\n".join([f"usage: {program} TOOL [flags]; {program} TOOL --help", "", *lines])


def _fail(message: str) -> int:
    place = "" if system.is_main() else f"process {system.rank()}: "
    with suppress(OSError):  # nobody reads stderr, or its disk is full: the exit code is left
        print(f"error: {place}{message}", file=sys.stderr)
    return EXIT_ERROR
