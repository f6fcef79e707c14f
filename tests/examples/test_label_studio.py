"""Label Studio's own SDK accepts what ``detect --save-labels labelstudio`` writes, and sends it.

Needs ``pip install label-studio-sdk``; run by
``python -m pytest -m heavy -n 0 tests/examples/test_label_studio.py``. The server is a stand-in
that keeps what it is sent.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from detector.cli import run_tool

pytestmark = pytest.mark.heavy

SCRIPT = "label_studio_import.py"


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, Any]]]:
    """Address of a stand-in for Label Studio, and what was posted, by path."""
    posted: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            posted[self.path] = json.loads(content)
            answer = json.dumps({"id": 7, "project": 7, "title": "images"}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", posted
        http.shutdown()


@pytest.fixture
def labels(finder_onnx: Path, finder_images: Path, tmp_path: Path) -> Path:
    pytest.importorskip("label_studio_sdk")
    words = f"--weights {finder_onnx} --source {finder_images} --output {tmp_path} --no-draw"
    assert run_tool("detect", [*words.split(), "--save-labels", "labelstudio"]) == 0
    return tmp_path / "labelstudio"


def environment(url: str, root: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": url,
        "LABEL_STUDIO_API_KEY": "0" * 40,
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
    }


def test_the_whole_way(example: Any, server: Any, labels: Path, finder_images: Path):
    url, posted = server
    root = finder_images.parent
    done = example(SCRIPT, labels, finder_images, **environment(url, root))
    assert (done.returncode, done.stdout) == (0, f"5 images: {url}/projects/7\n"), done.stderr
    assert list(posted) == [
        "/api/projects/",
        "/api/storages/localfiles/",
        "/api/projects/7/import",
    ]
    project, storage, tasks = posted.values()
    assert '<Label value="green"/>' in project["label_config"]
    assert (storage["project"], storage["path"]) == (7, str(finder_images))
    for task in tasks:
        served = unquote(task["data"]["image"]).removeprefix("/data/local-files/?d=")
        assert (root / served).is_file()
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [1, 1, 2, 1, 0]


def test_a_wrong_label_is_not_sent(example: Any, server: Any, labels: Path, finder_images: Path):
    url, posted = server
    tasks = labels / "tasks.json"
    tasks.write_text(tasks.read_text().replace('"green"', '"blue"'))
    done = example(SCRIPT, labels, finder_images, **environment(url, finder_images.parent))
    assert done.returncode == 1
    assert done.stderr.startswith("/data/local-files/?d=b.png: Region 0: Invalid value")
    assert posted == {}


def test_images_at_the_document_root(example: Any, server: Any, labels: Path, finder_images: Path):
    url, posted = server
    done = example(SCRIPT, labels, finder_images, **environment(url, finder_images))
    assert (done.returncode, done.stderr) == (
        1,
        f"{finder_images}: Label Studio shows folders below its document root only, "
        f"{finder_images}\n",
    )
    assert posted == {}
