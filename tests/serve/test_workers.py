"""Several processes behind one socket: they share the load, are replaced, and end together."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

Serve = Callable[..., AbstractContextManager[Any]]

SECONDS = 60


def workers_of(process: Any) -> list[psutil.Process]:
    """Return the processes that answer; the supervisor has one more, which frees its resources."""
    found = []
    for child in psutil.Process(process.pid).children():
        with suppress(psutil.Error):  # it ended meanwhile
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=SECONDS).status_code == 200
    except httpx.HTTPError:
        return False


def test_two_workers(served: Serve, finder_onnx: Path, image_c: bytes) -> None:
    """Requests of both are counted as one; a worker that is killed is replaced; all end at once."""
    with served(finder_onnx, "--workers", 2) as server:
        wait_until(lambda: answers(server.url) and len(workers_of(server.process)) == 2)
        for _ in range(8):
            answer = httpx.post(f"{server.url}/v1/detect", files={"image": image_c})
            assert answer.status_code == 200
        text = httpx.get(f"{server.url}/metrics").text
        line = r'detector_requests_total\{path="/v1/detect",status="200"\} 8\.0'
        assert re.search(line, text), text
        assert 'detector_accepted_images{model="finder"} 0.0' in text
        first, second = workers_of(server.process)
        first.kill()
        wait_until(lambda: first.pid not in [child.pid for child in workers_of(server.process)])
        wait_until(lambda: len(workers_of(server.process)) == 2 and answers(server.url))
        workers = workers_of(server.process)
        assert second in workers
        code, out = server.stop()
    assert code == 0
    assert int(re.search(r"stopped; requests: (\d+) with status 200\n$", out)[1]) >= 10  # type: ignore[index]
    assert not [worker for worker in workers if worker.is_running()]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_workers_end_with_a_killed_supervisor(served: Serve, finder_onnx: Path) -> None:
    """Nobody would stop them, and the port would stay taken."""
    with served(finder_onnx, "--workers", 2) as server:
        wait_until(lambda: answers(server.url) and len(workers_of(server.process)) == 2)
        workers = workers_of(server.process)
        port = int(server.url.rpartition(":")[2])
        server.process.send_signal(signal.SIGKILL)
        gone, alive = psutil.wait_procs(workers, timeout=SECONDS)
        assert (len(gone), alive) == (2, [])
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGSTOP")
def test_a_worker_that_is_slow_to_answer_stays(served: Serve, finder_onnx: Path) -> None:
    """One that still imports libraries on a busy machine; uvicorn would wait for 5 seconds."""
    with served(finder_onnx, "--workers", 2) as server:
        wait_until(lambda: answers(server.url) and len(workers_of(server.process)) == 2)
        before = workers_of(server.process)
        before[0].send_signal(signal.SIGSTOP)
        time.sleep(8)
        before[0].send_signal(signal.SIGCONT)
        wait_until(lambda: answers(server.url))
        assert workers_of(server.process) == before
        code, _ = server.stop()
    assert code == 0
