"""A network camera on loopback that misbehaves as asked: HTTP with MJPEG, a thread per connection.

Each frame shows its number as 16 black or white squares, so that a test can tell which frames
arrived. What a connection does is a function of it, chosen by the path of the URL.
"""

from __future__ import annotations

import http.server
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from detector.utils.opencv import cv2

SQUARE = 16
"""Side of a square, pixels: 4×4 of them are an image of 64×64."""

BOUNDARY = b"--frame"
END = b"\r\n"


def numbered_image(number: int, size_hw: tuple[int, int] = (64, 64)) -> np.ndarray:
    """A grey image with 16 squares, white where a bit of the number is set."""
    bits = np.array([number >> bit & 1 for bit in range(16)], np.uint8).reshape(4, 4) * 255
    squares = np.kron(bits, np.ones((SQUARE, SQUARE), np.uint8))
    image = np.zeros((*size_hw, 3), np.uint8)
    image[:64, :64] = squares[..., None]
    return image


def number_of(image_rgb: np.ndarray) -> int:
    """The number that an image shows."""
    centers = image_rgb[SQUARE // 2 : 64 : SQUARE, SQUARE // 2 : 64 : SQUARE, 0]
    return sum(1 << int(bit) for bit in np.flatnonzero(centers > 127))


@lru_cache(maxsize=1 << 10)
def jpeg(number: int, size_hw: tuple[int, int] = (64, 64)) -> bytes:
    done, data = cv2.imencode(".jpg", numbered_image(number, size_hw))
    assert done
    return data.tobytes()


def part(data: bytes, *, length: bool = True) -> bytes:
    """A part of a multipart answer."""
    lines = [BOUNDARY, b"Content-Type: image/jpeg"]
    lines += [b"Content-Length: %d" % len(data)] if length else []
    return END.join([*lines, b"", data]) + END


@dataclass
class CameraServer:
    """What the server was asked for and what it sent.

    Attributes:
        place: host and port.
        behaviours: what a connection to a path does, by path.
        sent: number of frames sent to each path, over all connections.
        connections: times of the connections to each path, seconds of the monotonic clock.
        stopped: set at the end, so that endless connections end.
    """

    place: str = ""
    behaviours: dict[str, Callable[[Connection], None]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    connections: dict[str, list[float]] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, user: str = "") -> str:
        return f"http://{user}{self.place}{path}"


@dataclass
class Connection:
    """One connection, for a behaviour."""

    server: CameraServer
    path: str
    handler: Any

    def answer(self, content_type: str = "multipart/x-mixed-replace; boundary=frame") -> None:
        self.write(b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n" % content_type.encode())

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(data)

    def send(self, count: int, fps: float = 100.0, **options: Any) -> None:
        """Send the next frames, numbered on from the last one of this path."""
        for _ in range(count):
            self.write(part(jpeg(self.server.sent[self.path] % (1 << 16)), **options))
            self.server.sent[self.path] += 1
            if self.server.stopped.wait(1 / fps):
                return

    def hold(self) -> None:
        """Send nothing, and keep the connection open."""
        self.server.stopped.wait()

    def repeat(self, data: bytes, bytes_per_second: float = 1e8) -> None:
        """Send the same bytes again and again."""
        while not self.server.stopped.is_set():
            self.write(data)
            time.sleep(len(data) / bytes_per_second)


@contextmanager
def camera_server(**behaviours: Callable[[Connection], None]) -> Iterator[CameraServer]:
    """Run a server; ``door=f`` answers ``/door`` by calling ``f(connection)``."""
    state = CameraServer(behaviours={f"/{name}": each for name, each in behaviours.items()})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            state.connections.setdefault(path, []).append(time.monotonic())
            state.headers[path] = dict(self.headers)
            behaviour = state.behaviours.get(path)
            if behaviour is None:
                self.send_error(404)
                return
            with suppress(OSError):
                behaviour(Connection(state, path, self))

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as running:
        state.place = f"127.0.0.1:{running.server_address[1]}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            state.stopped.set()
            running.shutdown()
