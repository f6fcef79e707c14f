"""What is done for every request around its route: token, security headers, metrics, last error."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.serve.metrics import Metrics
from detector.utils.errors import one_line

logger = logging.getLogger(__name__)

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Headers of every answer. The page needs nothing from elsewhere, and the browser asks nobody."""

LINGER_SECONDS = 5.0
"""Longest time for which the rest of a refused request is read and dropped, so that its sender
reads the answer: a connection closed with unread bytes loses it."""

OTHER = "other"
"""Path of unknown paths in the metrics, whose number is bounded in this way."""


class Guard:
    """ASGI application around another one.

    Args:
        app: the application.
        token: bearer token of requests, None if they need none.
        paths: known paths, for the metrics.
        open_paths: those of them that need no token.
        metrics: of the server.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        paths: Collection[str],
        open_paths: Collection[str],
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._paths = frozenset(paths)
        self._open = frozenset(open_paths)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        start = time.perf_counter()
        try:
            await self._answer(scope, exchange)
        finally:
            path = scope["path"] if scope["path"] in self._paths else OTHER
            self._metrics.add_request(path, exchange.status, time.perf_counter() - start)

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        if scope["path"] not in self._open and not self._has_token(scope):
            refusal = JSONResponse(
                {"error": "expected the header 'Authorization: Bearer TOKEN' with the server's"},
                401,
                {"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, exchange.receive, exchange.send)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            # The application has answered with status 500.
            logger.error("unexpected %s: %s", type(error).__name__, one_line(error))

    def _has_token(self, scope: Scope) -> bool:
        if self._expected is None:
            return True
        given = Headers(scope=scope).get("authorization", "")
        return hmac.compare_digest(given.encode("latin-1", "replace"), self._expected)


class _Exchange:
    """One request and its answer; an answer to an unread body is sent before the rest is read.

    Attributes:
        status: of the answer, 0 before it has begun.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_read = False
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._is_read = message["type"] == "http.disconnect" or not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            await self._send(message)
        elif self._is_read or message.get("more_body"):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drop_rest()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop_rest(self) -> None:
        """Read and drop the rest of the request for some time."""

        async def drop() -> None:
            while not self._is_read:
                await self.receive()

        try:
            await asyncio.wait_for(drop(), LINGER_SECONDS)
        except asyncio.TimeoutError:
            return
