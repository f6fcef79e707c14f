"""Images by URL: only where allowed, only of the public internet, limited in bytes and time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from detector.serve import remote
from detector.serve.errors import RequestError
from detector.serve.remote import fetch, is_public


class _Handler(BaseHTTPRequestHandler):
    image = b""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1/secret")
            self.end_headers()
            return
        if self.path == "/slow":
            for _ in range(100):
                self.wfile.write(b"H")
                time.sleep(0.1)
            return
        self.send_response(404 if self.path == "/missing" else 200)
        length = len(self.image) + (9 if self.path == "/cut" else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(self.image)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def host(image_c: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on loopback that counts as public."""
    monkeypatch.setattr(remote, "is_public", lambda address: True)
    handler = type("Handler", (_Handler,), {"image": image_c})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_boxes_of_a_url_are_those_of_the_file(
    client: Callable[..., Any], host: str, image_c: bytes
) -> None:
    http = client(allow_urls=True)
    found = http.post("/v1/detect", params={"url": f"{host}/folder/c.png?size=2"})
    sent = http.post("/v1/detect", files={"image": ("c.png", image_c)})
    assert found.status_code == 200
    assert found.text == sent.text


@pytest.mark.parametrize(
    ("settings", "url", "status", "error"),
    [
        ({}, "/c.png", 403, "url: this server fetches nothing; it needs --allow-urls"),
        ({"allow_urls": True}, "/missing", 422, "url: the server answers with status 404"),
        (
            {"allow_urls": True},
            "/moved",
            422,
            "url: the server answers with status 302; redirects are not followed",
        ),
        ({"allow_urls": True}, "/cut", 422, "url: the file is cut"),
        (
            {"allow_urls": True, "max_mb": 0.0001},
            "/c.png",
            413,
            "url: the file has more than 0.0001 MB",
        ),
        (
            {"allow_urls": True, "request_seconds": 0.5},
            "/slow",
            408,
            "url: the file is not complete after 0.5 seconds",
        ),
    ],
)
def test_refused(
    client: Callable[..., Any], host: str, settings: dict, url: str, status: int, error: str
) -> None:
    answer = client(**settings).post("/v1/detect", params={"url": host + url})
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("url", "status", "error"),
    [
        (
            "file:///etc/passwd",
            400,
            "url: expected http:// or https://, found 'file:///etc/passwd'",
        ),
        ("http://", 400, "url: expected http:// or https://, found 'http://'"),
        ("http://a:b/", 400, "url: expected http:// or https://, found 'http://a:b/'"),
        ("http://me:pass@example.org/", 400, "url: expected one without user and password"),
        ("http://127.0.0.1/", 403, "url: 127.0.0.1 is not an address of the public internet"),
        ("http://[::1]:80/", 403, "url: ::1 is not an address of the public internet"),
        ("http://0x7f.1/", 403, "url: 0x7f.1 is not an address of the public internet"),
        ("http://localhost/", 403, "url: localhost is not an address of the public internet"),
    ],
)
def test_wrong_urls(client: Callable[..., Any], url: str, status: int, error: str) -> None:
    answer = client(allow_urls=True).post("/v1/detect", params={"url": url})
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_a_host_with_one_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may lead to several addresses; one of them is enough to refuse it."""
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in ("8.8.8.8", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(RequestError) as caught:
        fetch("http://example.org/a.png", 1000, 1.0)
    assert caught.value.status == 403


def test_a_body_beside_a_url(client: Callable[..., Any], host: str, image_c: bytes) -> None:
    http = client(allow_urls=True)
    answer = http.post(f"/v1/detect?url={host}/c.png", files={"image": image_c})
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "url and a body: expected one of both",
    )


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "is_public", lambda address: True)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(RequestError, match="^url: cannot be read: .*refused") as caught:
        fetch(f"http://127.0.0.1:{port}/a.png", 1000, 1.0)
    assert caught.value.status == 422
