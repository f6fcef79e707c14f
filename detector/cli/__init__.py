"""The command line: flags made from typed settings, and one function per tool.

The console script ``detector``, ``python -m detector`` and ``tools/*.py`` call it.
"""

from detector.cli.main import main, run_tool

__all__ = ["main", "run_tool"]
