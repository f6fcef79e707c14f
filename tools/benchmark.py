"""Measure training and detection on this machine: ``python tools/benchmark.py train``."""

import sys

from detector.cli import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("benchmark"))
