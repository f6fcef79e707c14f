"""Connections with time limits: clients that stall in sending headers or in reading answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedConfig(uvicorn.Config):
    """Uvicorn's configuration with a time limit for clients that stall.

    Args:
        seconds: longest time for the headers of a request, and for reading a piece of the answer.
        keywords: see ``uvicorn.Config``.
    """

    def __init__(self, app: Any, *, seconds: float, **keywords: Any) -> None:
        super().__init__(app, **keywords)
        self.seconds = seconds


class TimedProtocol(H11Protocol):
    """HTTP/1.1 connection that is aborted when its client stalls.

    Uvicorn limits only the pause between two requests. The time of a body is limited where it is
    read, see :mod:`detector.serve.uploads`.
    """

    def __init__(self, config: TimedConfig, *arguments: Any, **keywords: Any) -> None:
        super().__init__(config, *arguments, **keywords)
        self._headers = _Timer(self.loop, config.seconds)
        self._reading = _Timer(self.loop, config.seconds)

    def connection_made(self, transport: Any) -> None:
        """Start the time for the first request's headers."""
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; its complete headers end their time."""
        super().data_received(data)
        self._watch_headers()

    def pause_writing(self) -> None:
        """Start the time for reading the answer: the client is behind."""
        super().pause_writing()
        self._reading.start(self.transport.abort)

    def resume_writing(self) -> None:
        """End that time: the client has caught up."""
        super().resume_writing()
        self._reading.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all times."""
        self._headers.stop()
        self._reading.stop()
        super().connection_lost(exc)

    def _watch_headers(self) -> None:
        if self.conn.their_state is h11.IDLE:  # a request's headers are not complete
            self._headers.start(self.transport.abort)
        else:
            self._headers.stop()


class _Timer:
    """A call after some seconds, unless it is stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None

    def start(self, call: Callable[[], object]) -> None:
        """Start the time, unless it runs."""
        if self._handle is None:
            self._handle = self._loop.call_later(self._seconds, call)

    def stop(self) -> None:
        """Stop the time, if it runs."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
