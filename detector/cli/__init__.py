"""The command line: typed settings → flags → one call. ``tools/*.py`` are doors to it."""

from detector.cli.main import main, run_tool

__all__ = ["main", "run_tool"]
