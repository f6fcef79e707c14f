"""Errors that answer a request: a status and one line."""

from __future__ import annotations

from detector.utils.errors import DetectorError

RETRY_SECONDS = 1
"""Seconds after which a client that found the server full should try again."""


class RequestError(DetectorError):
    """Error in a request, or in its circumstances.

    Args:
        status: HTTP status of the answer.
        message: what was found, and what was expected.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def full(message: str) -> RequestError:
    """Return the error for a server that can take a request later, but not now."""
    return RequestError(503, message, {"Retry-After": str(RETRY_SECONDS)})
