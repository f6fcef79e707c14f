"""A timer that is postponed again and again: the limit of what one read from a server may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition, Thread


class Alarm:
    """Call of a function after some seconds, unless it is postponed or cancelled before.

    A socket's own timeout starts anew with each byte, so that a server which sends one now and then
    would never reach it. One thread serves all calls of :meth:`postpone`.

    Args:
        seconds: time until the call.
        action: called once, in the alarm's thread.

    Attributes:
        rang: the function was called, or is about to be.
    """

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self.rang = False
        self._seconds = seconds
        self._action = action
        self._condition = Condition()
        self._cancelled = False
        self.postpone()
        Thread(target=self._wait, daemon=True, name="alarm").start()

    def postpone(self) -> None:
        """Start the time anew."""
        self._due = time.monotonic() + self._seconds

    def cancel(self) -> None:
        """End the thread without the call."""
        with self._condition:
            self._cancelled = True
            self._condition.notify()

    def _wait(self) -> None:
        with self._condition:
            while not self._cancelled and (left := self._due - time.monotonic()) > 0:
                self._condition.wait(left)
            self.rang = not self._cancelled
        if self.rang:
            self._action()
