"""Worker processes that measure on request, each with its own threads and memory."""

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
    """A module that runs as a process and answers each line by one line of JSON.

    Args:
        process: the running process, with pipes for stdin and stdout.
        errors: file that its stderr is written to.
        started: ``time.perf_counter()`` before its start.
        first: the first line to send.

    Attributes:
        start_seconds: time from its start to its first answer.
    """

    def __init__(
        self, process: subprocess.Popen[str], errors: IO[str], started: float, first: str
    ) -> None:
        self._process = process
        self._errors = errors
        self.ask(first)
        self.start_seconds = time.perf_counter() - started

    def ask(self, line: str = "run") -> Any:
        """Send a line, and return the answer.

        Raises:
            DetectorError: the process has ended; quotes its last line of stderr.
        """
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        with suppress(BrokenPipeError):  # the process has ended, and its stderr says why
            requests.write(f"{line}\n")
            requests.flush()
        answer = answers.readline()
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or ["without an error message"]
            raise DetectorError(f"a measured process ended: {lines[-1]}")
        return json.loads(answer)


@contextmanager
def worker(module: str, first: str) -> Iterator[Worker]:
    """Start a module of this package as a process, and end it after the ``with`` block.

    Args:
        module: name of the module.
        first: the first line to send.
    """
    path = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:  # a pipe could fill and block
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
