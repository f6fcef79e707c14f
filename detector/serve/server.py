"""The server's life: its socket, its limits, and its end by a signal."""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from detector.serve.connection import TimedConfig, TimedProtocol
from detector.settings.serve import ServeSettings
from detector.utils.errors import DetectorError, one_line

MAX_HEADER_BYTES = 32 * 1024
"""Largest size of a request's headers."""

KEEP_ALIVE_SECONDS = 5
"""Longest pause between two requests of a connection."""

WORKER_ANSWER_SECONDS = 30
"""Time in which a worker answers the supervisor, else it is replaced. A worker that still imports
libraries does not answer, and on a busy machine that takes longer than uvicorn's 5 seconds."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        DetectorError: the address is unknown, or used by another process.
    """
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        number = error.errno or 0  # a system's own; negative ones are those of names
        reason = os.strerror(number) if number > 0 else one_line(error.strerror or error)
        raise DetectorError(f"cannot listen on {host}, port {port}: {reason}") from error


def address(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, listener: socket.socket, settings: ServeSettings) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then answer those that were accepted, and return."""
    with _signals_end_orderly():
        uvicorn.Server(config_of(app, settings)).run(sockets=[listener])


def config_of(app: ASGIApp | Callable[[], ASGIApp], settings: ServeSettings) -> TimedConfig:
    """Return uvicorn's configuration for an application, or, of several workers, what makes it."""
    return TimedConfig(
        app,
        seconds=settings.request_seconds,
        workers=settings.workers,
        factory=settings.workers > 1,
        http=TimedProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.grace_seconds),
        timeout_worker_healthcheck=WORKER_ANSWER_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )


@contextmanager
def _signals_end_orderly() -> Iterator[None]:
    """Let uvicorn raise the signal that stopped it without ending the process by it."""
    earlier = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
