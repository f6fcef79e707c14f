"""Ctrl-C and SIGTERM as a request to stop at a point from which the run can be resumed."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from detector.utils.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping: the step under way is finished and saved first; Ctrl-C again stops at once"

logger = logging.getLogger(__name__)


class StopRequest:
    """Context that records signals; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._raises = False
        self._before: dict[int, Any] = {}

    @property
    def is_asked(self) -> bool:
        """True after a signal."""
        return self._signal is not None

    def interruption(self, message: str = "") -> Interrupted:
        """Return the exception that ends the run; a signal to another process counts as SIGTERM."""
        return Interrupted(message, self._signal or signal.SIGTERM)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal interrupt at once inside the block, where no checkpointed state changes."""
        if self.is_asked:
            raise self.interruption()
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # others may not handle signals
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = number == self._signal == signal.SIGINT
        self._signal = number
        if again or self._raises:
            raise self.interruption()
        with suppress(OSError, RuntimeError):  # the stream is closed, or busy with another message
            logger.info(STOPPING)
