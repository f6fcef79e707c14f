"""Models behind HTTP, in this process and in one of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from detector.settings.serve import ServeSettings
from detector.utils.opencv import read_image

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "httpx")
ROOT = Path(__file__).resolve().parents[2]
MISSING = [name for name in PACKAGES if find_spec(name) is None]

if MISSING:
    collect_ignore_glob = ["test_*.py"]
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        raise ImportError(f"CI=true, but {', '.join(MISSING)} is not installed")


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETECTOR_TOKEN", raising=False)


@pytest.fixture
def client(finder_onnx: Path) -> Iterator[Callable[..., Any]]:
    """A function from settings to a client of a server in this process."""
    from starlette.testclient import TestClient

    from detector.serve.app import create_app
    from detector.serve.service import Service, open_backends, open_service

    services: list[Service] = []

    def client(*weights: Path, **settings: Any) -> Any:
        settings = ServeSettings(weights=weights or (finder_onnx,), threads=1, **settings)
        services.append(open_service(settings, open_backends(settings)))
        return TestClient(create_app(services[-1]), raise_server_exceptions=False)

    yield client
    for service in services:
        service.close()


@dataclass(frozen=True)
class Served:
    """A server in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM; return the exit status and what was printed."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out


@pytest.fixture
def served() -> Callable[..., AbstractContextManager[Served]]:
    """A context manager that runs ``detector serve`` with flags."""

    @contextmanager
    def served(*words: object, program: str = "") -> Iterator[Served]:
        code = program + "import sys; from detector.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "serve", *map(str, words), "--port", "0"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            seen = []
            for line in process.stdout:
                seen.append(line)
                if found := re.match(r"listens on (http://\S+);", line):
                    yield Served(found[1], process)
                    break
            else:
                pytest.fail(f"it ended with {process.wait()}: {''.join(seen)}")
        finally:
            process.kill()
            process.communicate()

    return served


@pytest.fixture(scope="session")
def image_c(finder_images: Path) -> bytes:
    """A picture with a red and a green square."""
    assert read_image(finder_images / "c.png").shape == (64, 64, 3)
    return (finder_images / "c.png").read_bytes()
