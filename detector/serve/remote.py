"""An image at a URL, fetched for a request where the server allows it, and never from within.

Who may name a URL makes this machine open connections. Therefore the host's addresses are looked up
once and all of them must be public; the connection goes to one of those very addresses, so that a
second look-up cannot lead elsewhere; redirects are not followed; bytes and time are limited.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from contextlib import closing, suppress
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from detector.runtime.streams.alarm import Alarm
from detector.serve.errors import RequestError
from detector.serve.uploads import MEGA, Upload
from detector.utils.errors import one_line, shown

SCHEMES = {"http": 80, "https": 443}
"""Schemes of URLs, with their ports."""

MAX_URL_LENGTH = 4096

PIECE_BYTES = 1 << 16

_PRINTABLE = "".join(map(chr, range(33, 127)))
"""Characters of a URL that are sent as typed; others are escaped."""


def fetch(url: str, max_bytes: int, seconds: float) -> Upload:
    """Return the image file at a URL.

    Args:
        url: begins with ``http://`` or ``https://``.
        max_bytes: largest file.
        seconds: longest time until all of it is there.

    Raises:
        RequestError: the URL is none (400), leads to an address that is not public (403), cannot be
            read (422), is too large (413) or too slow (408).
    """
    parts = _parts(url)
    late = RequestError(408, f"url: the file is not complete after {seconds:g} seconds")
    alarm: Alarm | None = None
    try:
        with closing(_connect(parts, _public_address(parts), seconds)) as connection:
            # A socket's own limit starts anew with each byte.
            alarm = Alarm(seconds, lambda: _abort(connection.sock))
            data = _read(connection, parts, max_bytes)
    except TimeoutError as error:
        raise late from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if alarm is not None and alarm.rang:
            raise late from error
        raise RequestError(422, f"url: cannot be read: {one_line(error)}") from error
    finally:
        if alarm is not None:
            alarm.cancel()
    if alarm.rang:
        raise late
    return Upload(PurePosixPath(unquote(parts.path)).name or "image", data)


def _abort(opened: socket.socket | None) -> None:
    """End a read of a socket in another thread."""
    with suppress(OSError):
        if opened is not None:
            opened.shutdown(socket.SHUT_RDWR)


def _parts(url: str) -> SplitResult:
    """Return the parts of a URL with a scheme, a host and a possible port."""
    try:
        parts = urlsplit(url)
        complete = parts.scheme in SCHEMES and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number, or brackets are no IPv6 address
        complete = False
    if not complete or len(url) > MAX_URL_LENGTH:
        raise RequestError(400, f"url: expected http:// or https://, found {shown(url)}")
    if parts.username is not None or parts.password is not None:
        raise RequestError(400, "url: expected one without user and password")
    return parts


def _public_address(parts: SplitResult) -> str:
    """Return one of the host's addresses; all of them must be public."""
    port = parts.port or SCHEMES[parts.scheme]
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not all(map(is_public, addresses)):
        message = f"url: {parts.hostname} is not an address of the public internet"
        raise RequestError(403, message)
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet.

    >>> [is_public(one) for one in ("8.8.8.8", "127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1")]
    [True, False, False, False]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    embedded = [getattr(found, name, None) for name in ("ipv4_mapped", "sixtofour")]
    teredo = getattr(found, "teredo", None) or ()
    inner = [one for one in (*embedded, *teredo) if one is not None]
    return all(one.is_global and not one.is_multicast for one in (found, *inner))


def _connect(parts: SplitResult, address: str, seconds: float) -> http.client.HTTPConnection:
    """Connect to an address in the name of the host."""
    port = parts.port or SCHEMES[parts.scheme]
    opened: Any = socket.create_connection((address, port), timeout=seconds)
    if parts.scheme == "https":
        opened = ssl.create_default_context().wrap_socket(opened, server_hostname=parts.hostname)
    connection = http.client.HTTPConnection(str(parts.hostname), port)
    connection.sock = opened
    return connection


def _read(connection: http.client.HTTPConnection, parts: SplitResult, max_bytes: int) -> bytes:
    target = quote(parts.path or "/", _PRINTABLE) + (
        f"?{quote(parts.query, _PRINTABLE)}" if parts.query else ""
    )
    connection.request("GET", target, headers={"Accept": "image/*"})
    answer = connection.getresponse()
    if answer.status != 200:
        redirect = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        raise RequestError(422, f"url: the server answers with status {answer.status}{redirect}")
    data = bytearray()
    while piece := answer.read1(PIECE_BYTES):
        data += piece
        if len(data) > max_bytes:
            raise RequestError(413, f"url: the file has more than {max_bytes / MEGA:g} MB")
    if answer.length:
        raise RequestError(422, "url: the file is cut")
    return bytes(data)
