"""Images at URLs: one decoder for all, what is an image, passwords, and servers that fail."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from detector.runtime import download
from detector.runtime.sources import frame_of, open_source
from detector.utils.errors import DetectorError


class Answer(NamedTuple):
    content: bytes
    content_type: str = "image/jpeg"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Server(NamedTuple):
    """A local server: answers by path, and the ``Authorization`` headers that it was sent."""

    place: str
    answers: dict[str, Answer]
    authorizations: list[str | None]


@pytest.fixture
def server() -> Iterator[Server]:
    answers: dict[str, Answer] = {}
    authorizations: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorizations.append(self.headers["Authorization"])
            answer = answers.get(self.path.partition("?")[0], Answer(b"", status=404))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            for header in answer.headers:
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield Server(f"127.0.0.1:{running.server_address[1]}", answers, authorizations)
        running.shutdown()


def photo(orientation: int = 6) -> bytes:
    """A JPEG of 160×120, shown as 120×160, whose levels rise from top to bottom."""
    exif = Image.Exif()
    exif[0x112] = orientation
    level = np.repeat(np.arange(160, dtype=np.uint8)[None, :, None], 120, 0).repeat(3, 2)
    file = io.BytesIO()
    Image.fromarray(level).save(file, "JPEG", exif=exif.tobytes(), quality=95)
    return file.getvalue()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/a.jpg", "image/jpeg"),
        ("/a.jpg", "application/octet-stream"),
        ("/snapshot.cgi", "image/jpeg"),
        ("/snapshot.cgi", "application/octet-stream"),
    ],
)
def test_a_photo_is_decoded_as_its_file_is(server, tmp_path, path, content_type):
    (tmp_path / "a.jpg").write_bytes(photo())
    server.answers[path] = Answer(photo(), content_type)
    (expected,) = open_source(tmp_path / "a.jpg")
    (frame,) = open_source(f"http://{server.place}{path}?size=3")
    assert frame.image_rgb.shape == (160, 120, 3)
    np.testing.assert_array_equal(frame.image_rgb, expected.image_rgb)
    assert (frame.name, frame.path, frame.fps) == (path[1:].partition(".")[0], None, None)


def test_a_password_is_sent_to_its_server_only(server):
    server.answers["/a.jpg"] = Answer(
        b"", status=302, headers=(("Location", f"http://{server.place}/b.jpg"),)
    )
    server.answers["/b.jpg"] = Answer(photo())
    list(open_source(f"http://me:sec%40ret@{server.place}/a.jpg"))
    # base64 of me:sec@ret
    assert server.authorizations == ["Basic bWU6c2VjQHJldA==", None]


def test_errors_of_images_at_urls(server, monkeypatch):
    def fails(path: str) -> str:
        with pytest.raises(DetectorError) as caught:
            list(open_source(f"http://me:secret@{server.place}{path}"))
        place, _, message = str(caught.value).partition(f"{path.partition('?')[0]}")
        assert place == f"http://***@{server.place}"
        return message

    assert fails("/none.jpg?token=secret") == (
        "?***: cannot be downloaded: HTTP Error 404: Not Found"
    )
    server.answers["/page.jpg"] = Answer(b"<html>", "text/html")
    assert fails("/page.jpg") == ": is not an image that OpenCV can decode"
    server.answers["/page"] = Answer(b"<html>", "text/html")
    assert fails("/page") == ": is not a video that OpenCV can read"
    server.answers["/a.jpg"] = Answer(photo() + bytes(1 << 17))
    monkeypatch.setattr(download, "MAX_IMAGE_BYTES", 1 << 16)
    assert fails("/a.jpg") == ": has more than 65536 bytes"
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", -1)
    monkeypatch.setattr(download, "MAX_IMAGE_BYTES", 1 << 30)
    assert fails("/a.jpg") == ": cannot be downloaded: not complete after -1 s"


def test_a_server_that_is_not_there():
    with pytest.raises(DetectorError) as caught:
        list(open_source("http://127.0.0.1:9/a.jpg"))
    assert str(caught.value).startswith("http://127.0.0.1:9/a.jpg: cannot be downloaded: ")
    with pytest.raises(DetectorError) as caught:
        list(open_source("http://127.0.0.1:9/a"))
    assert str(caught.value) == "http://127.0.0.1:9/a: is not a video that OpenCV can read"


def test_one_image_for_prediction_is_no_url():
    with pytest.raises(DetectorError) as caught:
        frame_of("https://me:secret@host/a.jpg")
    assert str(caught.value) == (
        "https://***@host/a.jpg: is a URL, expected an image; loop over predictor(source) for URLs"
    )
