"""Ctrl-C and SIGTERM: a request, which the run answers where it can be gone on with."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from detector.utils.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A context in which signals are noted; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._raises = False
        self._before: dict[int, Any] = {}

    @property
    def is_asked(self) -> bool:
        """Whether a signal has come."""
        return self._signal is not None

    def interruption(self, message: str = "") -> Interrupted:
        """What ends the run; where another process had the signal, it counts as SIGTERM."""
        return Interrupted(message, self._signal or signal.SIGTERM)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, where nothing changes that a checkpoint holds, a signal interrupts at once."""
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
