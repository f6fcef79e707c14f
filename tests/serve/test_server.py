"""The server as a process: without torch, its end by a signal, slow clients, wrong starts."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from detector.cli import run_tool
from detector.serve.app import PAGE
from detector.serve.server import address, listen

NO_TORCH = """
import atexit, sys
for name in ("torch", "torchvision", "accelerate", "PIL"):
    sys.modules[name] = None  # importing it raises ImportError
atexit.register(lambda: print("torch:", sys.modules["torch"]))
"""

HELD_NETWORK = """
import os, time
from detector.runtime.pipeline import Pipeline
original, calls = Pipeline.predict_fitted, []
def held(self, images, settings):
    calls.append(images)  # the first one is that of the start
    while len(calls) > 1 and not os.path.exists({gate!r}):
        time.sleep(0.01)
    return original(self, images, settings)
Pipeline.predict_fitted = held
"""

Serve = Callable[..., AbstractContextManager[Any]]


def test_boxes_without_torch(
    served: Serve, finder_onnx: Path, finder_images: Path, tmp_path: Path
) -> None:
    """A process that cannot import torch answers with the digits that ``detect`` writes."""
    flags = ["--weights", finder_onnx, "--source", finder_images / "c.png", "--output", tmp_path]
    assert run_tool("detect", [*map(str, flags), "--jsonl", "--no-draw"]) == 0
    expected = json.loads((tmp_path / "detections.jsonl").read_text())
    del expected["path"]
    with served(finder_onnx, program=NO_TORCH) as server:
        files = {"image": ("c", (finder_images / "c.png").read_bytes())}
        answer = httpx.post(f"{server.url}/v1/detect", files=files)
        assert answer.text == json.dumps({"model": "finder", "images": [expected]})
        code, out = server.stop()
    assert code == 0
    assert out == "stopped; requests: 1 with status 200\ntorch: None\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_accepted_requests_be_answered(
    served: Serve, finder_onnx: Path, image_c: bytes, tmp_path: Path, number: int
) -> None:
    """Eight images wait before a network that is held until the signal was sent; none is lost."""
    gate = tmp_path / "gate"
    statuses: list[int] = []

    def ask(url: str) -> None:
        answer = httpx.post(f"{url}/v1/detect", files={"image": image_c}, timeout=60)
        statuses.append(answer.status_code)

    with served(finder_onnx, program=HELD_NETWORK.format(gate=str(gate))) as server:
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        accepted = 'detector_accepted_images{model="finder"} 8.0'
        end = time.monotonic() + 60
        while accepted not in httpx.get(f"{server.url}/metrics").text:
            assert time.monotonic() < end
            time.sleep(0.01)
        server.process.send_signal(number)
        time.sleep(0.3)
        assert statuses == []
        gate.touch()
        for thread in threads:
            thread.join()
        out, _ = server.process.communicate(timeout=60)
    assert statuses == [200] * 8
    assert server.process.returncode == 0
    assert re.fullmatch(r"stopped; requests: \d+ with status 200\n", out)


def test_overload_is_503_and_nothing_else(
    served: Serve, finder_onnx: Path, image_c: bytes, tmp_path: Path
) -> None:
    """32 clients at a server with two places, whose network is held until 30 were refused."""
    gate, statuses = tmp_path / "gate", []

    def ask(url: str) -> None:
        answer = httpx.post(f"{url}/v1/detect", files={"image": image_c}, timeout=60)
        assert answer.headers.get("retry-after") == ("1" if answer.status_code == 503 else None)
        statuses.append(answer.status_code)

    flags = ["--queue", 2, "--max-images", 2]
    with served(finder_onnx, *flags, program=HELD_NETWORK.format(gate=str(gate))) as server:
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(32)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while len(statuses) < 30 and time.monotonic() < end:
            time.sleep(0.01)
        assert statuses == [503] * 30
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        gate.touch()
        for thread in threads:
            thread.join()
        assert statuses[30:] == [200, 200]
        assert server.stop() == (
            0,
            "stopped; requests: 3 with status 200, 30 with status 503\n",
        )


def read_all(connection: socket.socket) -> bytes:
    """Return what a server sends until it closes."""
    connection.settimeout(30)
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


def test_slow_and_wrong_clients(served: Serve, finder_onnx: Path, image_c: bytes) -> None:
    """Clients that stall lose their connection after a second; good ones are served meanwhile."""
    head = b"POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
    with served(finder_onnx, "--request-seconds", 1) as server:
        host, port = re.fullmatch(r"http://(.*):(\d+)", server.url).groups()  # type: ignore[union-attr]

        def send(data: bytes) -> socket.socket:
            connection = socket.create_connection((host, int(port)))
            connection.sendall(data)
            return connection

        silent, cut = send(b""), send(b"GET /healthz HT")
        second = send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /hea")
        slow = send(head + b"content-length: 99999\r\n\r\n" + image_c)
        huge = send(b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n")
        noise = send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200))
        refused = send(head + b"content-length: 99999999999\r\n\r\n" + bytes(100_000))
        answer = httpx.post(f"{server.url}/v1/detect", files={"image": image_c})
        assert answer.status_code == 200
        assert read_all(silent) == read_all(cut) == b""
        assert read_all(second).endswith(b'{"status":"ok"}')
        assert b"408" in (found := read_all(slow)).splitlines()[0]
        assert found.endswith(b'{"error":"the request is not complete after 1 seconds"}')
        assert read_all(huge).startswith(b"HTTP/1.1 400")
        assert read_all(noise).startswith(b"HTTP/1.1 400")
        assert b'{"error":"the request has more than 32 MB"}' in read_all(refused)
        assert server.stop()[0] == 0


def test_token(client: Callable[..., Any], image_c: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    http = client(token_file=file)
    for path in (*PAGE, "/docs", "/healthz", "/readyz"):
        assert http.get(path).status_code == 200
    refusal = {"error": "expected the header 'Authorization: Bearer TOKEN' with the server's"}
    for wrong in ({}, {"authorization": "Bearer"}, {"authorization": "Bearer s3cres"}):
        for path in ("/v1/model", "/metrics", "/openapi.json", "/unknown"):
            answer = http.get(path, headers=wrong)
            assert (answer.status_code, answer.json()) == (401, refusal)
            assert answer.headers["www-authenticate"] == "Bearer"
        assert http.post("/v1/detect", files={"image": image_c}, headers=wrong).status_code == 401
    right = {"authorization": "Bearer s3cret"}
    assert http.get("/v1/model", headers=right).status_code == 200
    assert http.post("/v1/detect", files={"image": image_c}, headers=right).status_code == 200
    assert "s3cret" not in http.get("/metrics", headers=right).text


def test_token_of_the_variable(client: Callable[..., Any], monkeypatch) -> None:
    monkeypatch.setenv("DETECTOR_TOKEN", "abc")
    http = client()
    assert http.get("/v1/model").status_code == 401
    assert http.get("/v1/model", headers={"authorization": "Bearer abc"}).status_code == 200


TOKEN_LINE = "expected a token of visible ASCII characters without spaces"


@pytest.mark.parametrize(
    ("content", "variable", "error"),
    [
        ("", None, f"{{file}}: {TOKEN_LINE}"),
        ("two words", None, f"{{file}}: {TOKEN_LINE}"),
        ("schlüssel", None, f"{{file}}: {TOKEN_LINE}"),
        (None, " ", f"the variable DETECTOR_TOKEN: {TOKEN_LINE}"),
        ("abc", "abc", "--token-file: the variable DETECTOR_TOKEN is set, too"),
    ],
)
def test_wrong_tokens(
    finder_onnx: Path, tmp_path: Path, monkeypatch, capsys, content, variable, error
) -> None:
    file, flags = tmp_path / "token", []
    if content is not None:
        file.write_text(content, encoding="utf-8")
        flags = ["--token-file", str(file)]
    if variable is not None:
        monkeypatch.setenv("DETECTOR_TOKEN", variable)
    assert run_tool("serve", [str(finder_onnx), *flags]) == 2
    assert capsys.readouterr().err == f"error: {error.format(file=file)}\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", "FILES is missing"),
        ("--port 8000", "FILES is missing"),
        ("none.onnx", "none.onnx: no such file; expected weights"),
        ("{onnx} --port 99999", "--port: expected at most 65535, found '99999'"),
        ("{onnx} --prot 8000", "unknown flag '--prot'; did you mean '--port'?"),
        ("{onnx} {copy}", "{copy}: a second model is called 'finder'; rename one"),
        (
            "{onnx} --queue 8",
            "--queue 8: a request may have 16 images, which would never have room",
        ),
        ("{onnx} --sigma 1", "--sigma: --nms-method nms has no such value; omit it"),
        ("{onnx} --host 192.0.2.1", "cannot listen on 192.0.2.1, port 8000: Cannot assign "),
    ],
)
def test_wrong_starts(finder_onnx: Path, tmp_path: Path, capsys, words: str, error: str) -> None:
    copy = shutil.copy(finder_onnx, tmp_path / "finder.onnx")
    names = {"onnx": finder_onnx, "copy": copy}
    assert run_tool("serve", [word.format(**names) for word in words.split()]) == 2
    assert capsys.readouterr().err.startswith(f"error: {error.format(**names)}")


def test_a_port_that_is_used(finder_onnx: Path, capsys) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = address(listener).rpartition(":")[2]
        assert run_tool("serve", [str(finder_onnx), "--port", port]) == 2
    error = f"error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
    assert capsys.readouterr().err == error


def test_without_the_extra(finder_onnx: Path) -> None:
    """One line says what to install."""
    program = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from detector.cli import main; sys.exit(main(['serve', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(finder_onnx)],
        capture_output=True,
        text=True,
        check=False,
    )
    error = 'error: fastapi is not installed; run: pip install "repdet[serve]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", error)


def test_the_page_needs_nothing_from_elsewhere(client: Callable[..., Any]) -> None:
    http = client()
    for path, (_, media_type) in PAGE.items():
        answer = http.get(path)
        assert answer.headers["content-type"].startswith(media_type)
        assert not re.search(r"https?:|//\w|@import|url\(|innerHTML|\son\w+=|style=", answer.text)
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
        assert {"img-src 'self' blob: data:", "media-src blob:", "connect-src 'self'"} <= set(
            policy
        )
        assert not [rule for rule in policy if "unsafe" in rule or "http" in rule]
    page = http.get("/").text
    names = set(re.findall(r'\bid="([^"]+)"', page))
    scripts = http.get("/page.js").text + http.get("/motion.js").text
    used = set(re.findall(r'byId\("([^"]+)"\)', scripts))
    assert used <= names
    assert set(re.findall(r'\bfor="([^"]+)"', page)) <= names
    labelled = {"token", "file", "model", "confidence"}
    assert labelled <= set(re.findall(r'<label for="([^"]+)"', page))


def test_description_of_the_routes(client: Callable[..., Any]) -> None:
    http = client()
    paths = http.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/detect", "/v1/model", "/healthz", "/readyz", "/metrics"}
    names = [parameter["name"] for parameter in paths["/v1/detect"]["post"]["parameters"]]
    assert names == ["model", "confidence", "iou", "max_detections", "classes", "url"]
    assert http.get("/redoc").status_code == 404  # it would load scripts from elsewhere
    page = http.get("/docs").text
    assert not re.search(r"https?:(?!//127.0.0.1)|<script|style=", page)
    for path in paths:
        assert f"{path}</code></h2>" in page
    row = "<code>confidence</code></th><td>number, 0 to 1</td><td>lowest score that is kept</td>"
    assert row in page
    assert "<code>503</code></th><td>The server is busy; Retry-After says when" in page


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v1/detct", 404, "no such path '/v1/detct'; did you mean '/v1/detect'?"),
        ("GET", "/zzz", 404, "no such path '/zzz'"),
        ("GET", "/v1/detect", 405, "/v1/detect takes POST, found GET"),
        ("GET", "/v1/model?mode=x", 400, "unknown key 'mode'; did you mean 'model'?"),
    ],
)
def test_wrong_paths(
    client: Callable[..., Any], method: str, path: str, status: int, error: str
) -> None:
    http = client()
    answer = http.request(method, path)
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    text = http.get("/metrics").text
    assert "/zzz" not in text  # unknown paths are counted as one
