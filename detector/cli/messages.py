"""Log messages of the package on the terminal while a tool runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from detector.utils import system


class _TerminalHandler(logging.Handler):
    """Logging handler that writes messages to stdout and warnings to stderr, in the main process.

    Errors of the stream are raised as by ``print``, so that ``| head`` ends a tool.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message without breaking progress bars."""
        if not system.is_main():
            return
        from tqdm import tqdm  # imported late, since --help does not need it

        if record.levelno < logging.WARNING:
            tqdm.write(self.format(record), sys.stdout)
        else:
            tqdm.write(f"warning: {self.format(record)}", sys.stderr)


@contextmanager
def messages_on_terminal() -> Iterator[None]:
    """Show log messages of this package while the ``with`` block runs."""
    logger, handler = logging.getLogger("detector"), _TerminalHandler()
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False  # else a library that configures logging would repeat each line
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
