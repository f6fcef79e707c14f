"""Parses flags into typed settings, calls the tool, and turns errors into one line."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from detector import settings as typed
from detector.config import write_text
from detector.errors import DetectorError, nearest

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class Tool(NamedTuple):
    """A subcommand: its settings, and the function that runs it, imported when it is called."""

    settings: type[typed.ToolSettings]
    function: str


TOOLS = {
    "train": Tool(typed.TrainSettings, "detector.cli.train:train"),
    "val": Tool(typed.ValSettings, "detector.cli.val:val"),
    "detect": Tool(typed.DetectSettings, "detector.cli.detect:detect"),
    "export": Tool(typed.ExportSettings, "detector.cli.export:export"),
    "info": Tool(typed.InfoSettings, "detector.cli.info:info"),
    "anchors": Tool(typed.AnchorSettings, "detector.cli.anchors:anchors"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script: ``detector train …``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else EXIT_ERROR
    if words[0] not in TOOLS:
        hint = nearest(words[0], TOOLS) or f"; expected {', '.join(TOOLS)}"
        return _fail(f"unknown subcommand {words[0]!r}{hint}")
    return run_tool(words[0], words[1:], program=f"detector {words[0]}")


def run_tool(name: str, arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run one tool with its flags.

    Returns:
        0, or 2 after an error of one line on stderr.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    tool = TOOLS[name]
    try:
        settings = parse(tool.settings, words, program or f"tools/{name}.py")
        figures = _function(tool)(settings)
        if settings.json_file is not None:
            write_text(settings.json_file, json.dumps(figures, indent=1) + "\n")
    except DetectorError as error:
        if "--debug" in words:
            raise
        return _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        if "--debug" in words or (error.name or "").startswith("detector"):
            raise
        return _fail(f"{error.name} is not installed; run: pip install -r requirements.txt")
    return 0


def parse(
    settings: type[typed.ToolSettings], words: Sequence[str], program: str
) -> typed.ToolSettings:
    """Flags → settings; ``model_fields_set`` holds the ones that were given.

    Raises:
        DetectorError: unknown flag, missing flag, or a value that does not fit.
        SystemExit: after ``--help``.
    """
    import pydantic
    from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict, SettingsError

    class Flags(settings, BaseSettings):  # type: ignore[misc, valid-type]
        """Without the environment: a variable named ``name`` or ``data`` must not matter."""

        model_config = SettingsConfigDict(
            cli_prog_name=program,
            cli_implicit_flags="toggle",
            cli_kebab_case=True,
            cli_hide_none_type=True,
            cli_avoid_json=True,
            cli_exit_on_error=False,
            case_sensitive=True,
        )

        @classmethod
        def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[Any, ...]:
            return (sources["init_settings"],)

    Flags.__doc__ = settings.__doc__
    try:
        flags = CliApp.run(Flags, cli_args=list(words))
    except SettingsError as error:
        raise DetectorError(_unknown_flag(str(error), settings)) from error
    except pydantic.ValidationError as error:
        raise DetectorError(_bad_value(error.errors()[0])) from error
    given = {name: getattr(flags, name) for name in flags.model_fields_set}
    return settings(**given)


def flag_names(settings: type[typed.ToolSettings]) -> list[str]:
    """``--data-root`` and so on."""
    fields = settings.model_fields.items()
    return [f"--{(field.alias or name).replace('_', '-')}" for name, field in fields]


def _function(tool: Tool) -> Callable[[Any], dict[str, Any]]:
    module, _, name = tool.function.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _unknown_flag(message: str, settings: type[typed.ToolSettings]) -> str:
    message = message.removeprefix("error parsing CLI: ").splitlines()[0]
    _, found, words = message.partition("unrecognized arguments: ")
    if not found:
        return message
    word = words.split()[0].partition("=")[0]
    if not word.startswith("--"):
        return f"unexpected word {word!r}; several values are written as a,b,c"
    hint = nearest(word, flag_names(settings)) or "; see --help"
    return f"unknown flag {word!r}{hint}"


def _bad_value(problem: Any) -> str:
    flag = "--" + str(problem["loc"][0]).replace("_", "-") if problem["loc"] else "settings"
    if problem["type"] == "missing":
        return f"{flag} is missing"
    message = str(problem["msg"])
    message = message[:1].lower() + message[1:].partition(", unable")[0]
    return f"{flag}: {message}, found {problem['input']!r}"


def _overview() -> str:
    lines = [f"  {name:8} {tool.settings.__doc__}" for name, tool in TOOLS.items()]
    return "\n".join(["usage: detector TOOL [flags]; detector TOOL --help", "", *lines])


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return EXIT_ERROR
