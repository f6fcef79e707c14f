"""Several processes behind one socket: started, watched and replaced by uvicorn."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait
from socket import socket

from prometheus_client.multiprocess import mark_process_dead
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from detector.serve.app import create_app
from detector.serve.metrics import FOLDER_VARIABLE, Metrics
from detector.serve.server import config_of
from detector.serve.service import open_backends, open_service
from detector.settings.serve import ServeSettings
from detector.utils.errors import DetectorError
from detector.utils.system import available_cores

logger = logging.getLogger(__name__)


def run_workers(listener: socket, settings: ServeSettings) -> dict[str, int]:
    """Answer requests with several processes until SIGTERM or Ctrl-C.

    Returns:
        Numbers of requests of all workers, by status.
    """
    if settings.threads is None and "OMP_NUM_THREADS" not in os.environ:
        share = max(available_cores() // settings.workers, 1)
        settings = settings.model_copy(update={"threads": share})
    with _folder_of_metrics():
        _Supervisor(config_of(partial(_app, settings), settings), [listener]).run()
        return Metrics().requests_by_status()


@contextmanager
def _folder_of_metrics() -> Iterator[None]:
    """Give the workers a folder for their metrics, which ends with the server."""
    with tempfile.TemporaryDirectory(prefix="detector-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


class _Supervisor(Multiprocess):
    """Uvicorn's supervisor, which also says that a worker died, and forgets what it was doing."""

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that died."""
        before = [process.pid for process in self.processes]
        super().keep_subprocess_alive()
        after = {process.pid for process in self.processes}
        for pid in before:
            if pid is not None and pid not in after:
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
                logger.warning(f"worker {pid} died; another one takes its place")


def _app(settings: ServeSettings) -> ASGIApp:
    """Return the application of one worker; called in its process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return create_app(open_service(settings, open_backends(settings)))
    except DetectorError as error:
        logger.error(str(error))
        sys.exit(STARTUP_FAILURE)


def _end_with_parent() -> None:
    """End this worker as SIGTERM does when the supervisor is killed: nobody would stop it."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
