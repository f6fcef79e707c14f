"""A process that measures when it is asked, so that its threads and its memory are its alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from detector.utils.errors import DetectorError

PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class Worker:
    """A module run as a process; it answers each line with one of JSON.

    Attributes:
        start_seconds: from its start to its first answer.
    """

    def __init__(
        self, process: subprocess.Popen[str], errors: IO[str], started: float, first: str
    ) -> None:
        self._process = process
        self._errors = errors
        self.ask(first)
        self.start_seconds = time.perf_counter() - started

    def ask(self, line: str = "run") -> Any:
        """Send a line and wait for the answer.

        Raises:
            DetectorError: the process has ended; says why.
        """
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        with suppress(BrokenPipeError):  # it says why it ended
            requests.write(f"{line}\n")
            requests.flush()
        answer = answers.readline()
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["without a word"]
            raise DetectorError(f"a measured process ended: {said[-1]}")
        return json.loads(answer)


@contextmanager
def worker(module: str, first: str) -> Iterator[Worker]:
    """Run a module of this package as a process, which ends with the block.

    Args:
        module: its name.
        first: the line that it is sent first.
    """
    path = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:  # a pipe would fill up
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )
        try:
            yield Worker(process, errors, started, first)
        finally:
            process.terminate()
            process.communicate()
