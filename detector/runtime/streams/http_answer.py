"""An answer to an HTTP request for a stream: limited in time, and from the host that was asked."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TypeVar
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from detector.runtime.streams.alarm import Alarm
from detector.runtime.streams.lost import ConnectionLostError
from detector.utils.errors import one_line, public_url

ANSWER_SECONDS = 10.0
"""Longest time until a server has sent its header, and then until each frame is complete."""

MAX_REDIRECTS = 5
"""Maximum number of redirects in a row."""

_PRINTABLE = "".join(map(chr, range(33, 127)))
"""Characters of a URL that are sent as typed; others are escaped."""

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PORTS = {"http": 80, "https": 443}

ValueT = TypeVar("ValueT")


class HttpAnswer:
    """The answer to a GET request, whose content is read in time or not at all.

    Redirects are followed within one host: a stream's server may not make this machine open
    connections to others. User and password of the URL are sent as HTTP's basic authentication.

    Args:
        url: begins with ``http://`` or ``https://``.

    Attributes:
        url: the URL that answered, with user and password.

    Raises:
        ConnectionLostError: there is no answer in time, an error, or a redirect to another host.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        for _ in range(MAX_REDIRECTS + 1):
            place = self._request()
            if place is None:
                return
            self.close()
            self.url = _redirected(self.url, place)
        raise ConnectionLostError(f"more than {MAX_REDIRECTS} redirects in a row")

    def _request(self) -> str | None:
        """Send the request and read the header; return where a redirect leads to."""
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
        _explained(self._connection.connect)
        self._socket: socket.socket = self._connection.sock
        self._socket.settimeout(2 * ANSWER_SECONDS)  # the alarm comes first
        self._alarm = Alarm(ANSWER_SECONDS, self.abort)
        try:
            self._response = self._in_time(lambda: self._answer(parts.path, parts.query))
            if self._response.status in _REDIRECTS:
                return self._response.headers.get("Location", "")
            if self._response.status != 200:
                found = f"{self._response.status} {self._response.reason}"
                raise ConnectionLostError(one_line(f"HTTP {found}"))
        except BaseException:
            self.close()
            raise
        return None

    def _answer(self, path: str, query: str) -> HTTPResponse:
        target = quote(urlunsplit(("", "", path or "/", query, "")), _PRINTABLE)
        self._connection.request("GET", target, headers=_credentials(self.url))
        return self._connection.getresponse()

    @property
    def content_type(self) -> str:
        """Type of the content, such as ``multipart/x-mixed-replace``."""
        return self._response.headers.get_content_type()

    @property
    def boundary(self) -> str:
        """The boundary between the parts of multipart content; "" where none is named."""
        return self._response.headers.get_boundary("") or ""

    def read(self, limit: int) -> bytes:
        """Return the next bytes, none at the end.

        Raises:
            ConnectionLostError: the connection fails, or :meth:`postpone` was not called in time.
        """
        return self._in_time(lambda: self._response.read1(limit))

    def postpone(self) -> None:
        """Start the time of the next frame: the last one is complete."""
        self._alarm.postpone()

    def abort(self) -> None:
        """End a read in another thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._alarm.cancel()
        self.abort()
        with suppress(OSError):
            self._connection.close()
            if hasattr(self, "_response"):
                self._response.close()
        with suppress(OSError):
            self._socket.close()

    def _in_time(self, action: Callable[[], ValueT]) -> ValueT:
        """Return a result of reading; an aborted socket gives an end or any error."""
        try:
            value = _explained(action)
        except ConnectionLostError:
            if self._alarm.rang:
                raise _silent() from None
            raise
        if self._alarm.rang:
            raise _silent()
        return value


def _silent() -> ConnectionLostError:
    return ConnectionLostError(f"the server has sent no frame for {ANSWER_SECONDS:g} s")


def _explained(action: Callable[[], ValueT]) -> ValueT:
    """Return a result, or raise the network's error as that of a connection."""
    try:
        return action()
    except TimeoutError:
        raise ConnectionLostError(f"no answer within {ANSWER_SECONDS:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConnectionLostError(one_line(reason if isinstance(reason, str) else error)) from None


def _credentials(url: str) -> dict[str, str]:
    """Return the header with the URL's user and password, if it has any."""
    user, _, _ = urlsplit(url).netloc.rpartition("@")
    if not user:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"}


def _redirected(url: str, place: str) -> str:
    """Return the URL that a redirect leads to, with the user and password of the first.

    Raises:
        ConnectionLostError: it is on another host.
    """
    try:
        before, after = urlsplit(url), urlsplit(urljoin(url, place))
        same = place and before.hostname == after.hostname and _may_follow(before, after)
    except ValueError:
        same = False
    if not same:
        raise ConnectionLostError(
            f"is redirected to {public_url(place)!r}, another server; give that URL to read it"
        )
    user, at, _ = before.netloc.rpartition("@")
    netloc = user + at + after.netloc.rpartition("@")[2]
    return urlunsplit(after._replace(netloc=netloc))


def _may_follow(before: SplitResult, after: SplitResult) -> bool:
    """Return whether two URLs of one host are of one server: one port, or from HTTP to HTTPS."""
    ports = [parts.port or _PORTS.get(parts.scheme) for parts in (before, after)]
    if before.scheme == after.scheme:
        return ports[0] == ports[1]
    return (before.scheme, after.scheme) == ("http", "https") and ports == [80, 443]
