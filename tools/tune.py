"""Run ``python tools/tune.py --help`` for the flags."""

import sys

from detector.cli import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("tune"))
