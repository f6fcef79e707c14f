"""Messages of the library on the terminal, for as long as a tool runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from detector.utils import system


class _Terminal(logging.Handler):
    """Writes messages as plain lines to stdout, and warnings to stderr, those of one process.

    An error of the stream is the tool's own: ``| head`` ends it as it would have ended ``print``.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message, past the progress bars that are shown."""
        if not system.is_main():
            return
        from tqdm import tqdm  # not for --help

        if record.levelno < logging.WARNING:
            tqdm.write(self.format(record), sys.stdout)
        else:
            tqdm.write(f"warning: {self.format(record)}", sys.stderr)


@contextmanager
def messages_on_terminal() -> Iterator[None]:
    """Show the messages of everything here while the block runs."""
    logger, handler = logging.getLogger("detector"), _Terminal()
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a library that configures logging would write each line again
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
