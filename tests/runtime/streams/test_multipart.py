"""Parts of an MJPEG answer: forms that cameras send, and limits of what they do not end."""

from __future__ import annotations

import itertools

import pytest

from detector.runtime.streams import multipart
from detector.runtime.streams.lost import ConnectionLostError
from detector.runtime.streams.multipart import read_parts

CLOSED = "the server has closed the connection"


def parts(data: bytes, boundary: str = "frame", chunk: int = 7) -> tuple[list[bytes], str]:
    """The parts of an answer that comes a few bytes at a time, and the error after them."""
    chunks = iter([data[start : start + chunk] for start in range(0, len(data), chunk)])
    found = []
    try:
        for part in read_parts(lambda limit: next(chunks, b""), boundary):
            found.append(part)
    except ConnectionLostError as error:
        return found, str(error)
    return found, ""


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"--frame\r\nContent-Length: 3\r\n\r\nabc\r\n", [b"abc"]),
        (
            b"\r\n--frame\r\ncontent-length:3\r\n\r\nabc--frame\nContent-Length: 1\n\nd",
            [b"abc", b"d"],
        ),
        # Without a length a part ends at the next boundary: the last one here is not complete.
        (b"--frame\r\n\r\nab\r\n\r\n--frame\r\n\r\nc\r\n--frame\r\n\r\nd\r\n", [b"ab\r\n", b"c"]),
        (b"--frame\r\nContent-Length: 5\r\n\r\nabc", []),
        (
            b"noise\n--frame\r\nContent-Length: 9\r\n\r\n--frame\r\n\r\n--frame\r\n",
            [b"--frame\r\n"],
        ),
    ],
)
def test_parts(data: bytes, expected: list[bytes], chunk: int):
    assert parts(data, chunk=chunk) == (expected, CLOSED)


def test_a_camera_that_counts_the_dashes_as_its_boundary():
    data = b"--frame\r\nContent-Length: 1\r\n\r\na\r\n"
    assert parts(data, "--frame") == ([b"a"], CLOSED)
    assert parts(b"--" + data, "--frame") == ([b"a"], CLOSED)


def test_the_end_of_the_stream():
    data = b"--frame\r\nContent-Length: 1\r\n\r\na\r\n--frame--\r\n"
    assert parts(data) == ([b"a"], "the server has ended the stream")


@pytest.mark.parametrize(
    ("start", "again", "message"),
    [
        (b"", b"x", "a line has more than 8192 bytes: it is not MJPEG"),
        (b"", b"x\n", "no frame begins within 65536 bytes: it is not MJPEG"),
        (b"--frame\r\n", b"X: y\r\n", "a frame has more than 64 header lines"),
        (b"--frame\r\n", b"X", "a line has more than 8192 bytes: it is not MJPEG"),
        (b"--frame\r\n\r\n", b"x", "a frame has more than 1048576 bytes: it is not MJPEG"),
    ],
)
def test_what_never_ends(start: bytes, again: bytes, message: str, monkeypatch):
    monkeypatch.setattr(multipart, "MAX_FRAME_BYTES", 1 << 20)
    chunks = itertools.chain([start], itertools.repeat(again * (10_000 // len(again))))
    with pytest.raises(ConnectionLostError) as caught:
        list(read_parts(lambda limit: next(chunks) or again, "frame"))
    assert str(caught.value) == message


@pytest.mark.parametrize("length", ["0", "-1", "33554433", "9" * 5000, "x", "١"])
def test_lengths_that_are_none(length: str):
    found, message = parts(f"--frame\r\nContent-Length: {length}\r\n\r\n".encode())
    assert found == []
    assert message.startswith("a frame states a length of ")
    assert message.endswith(", expected 1 to 33554432 bytes")
    assert len(message) < 130


def test_no_boundary():
    assert parts(b"", "--") == ([], "the answer is multipart, but names no boundary")
