"""Exception of a connection to a camera or stream that has ended."""

from __future__ import annotations

from detector.utils.errors import DetectorError


class ConnectionLostError(DetectorError):
    """Error of one connection, after which the next is tried; the message is the reason."""
