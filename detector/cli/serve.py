"""``serve``: answer requests over HTTP with exported files, and a page to try them on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from detector.cli.refused import check_effect
from detector.settings.serve import ServeSettings
from detector.utils.system import require

if TYPE_CHECKING:
    from detector.serve.service import Service

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
"""What the extra ``serve`` brings."""

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def serve(settings: ServeSettings) -> dict[str, Any]:
    """Serve until a signal ends it; return the counts of requests by status.

    Raises:
        DetectorError: a package of the extra ``serve`` is missing, a file cannot be read, a flag
            has no effect on its network, or the address is used.
    """
    for package in PACKAGES:
        require(package, "serve")
    from detector.serve.app import create_app
    from detector.serve.server import address, listen, run
    from detector.serve.service import open_backends, open_service
    from detector.serve.workers import run_workers

    backends = open_backends(settings)
    for backend in backends.values():
        check_effect(settings, backend, settings.nms())
    service = open_service(settings, backends)
    try:
        with listen(settings.host, settings.port) as listener:
            _announce(address(listener), service, settings)
            if settings.workers > 1:
                service.close()
                counts = run_workers(listener, settings)
            else:
                run(create_app(service), listener, settings)
                counts = service.metrics.requests_by_status()
    finally:
        service.close()
    total = ", ".join(f"{count} with status {status}" for status, count in counts.items())
    print(f"stopped; requests: {total or 'none'}", flush=True)
    return {"requests": counts}


def _announce(url: str, service: Service, settings: ServeSettings) -> None:
    """Print the address and the models."""
    for name, model in service.models.items():
        found = model.describe()
        size = "×".join(map(str, found["preprocess"]["size_hw"]))
        print(f"{name}: {found['task']}, {len(found['names'])} classes, input {size}")
    if settings.host not in LOCAL_HOSTS and service.token is None:
        print(
            f"warning: --host {settings.host} without a token: whoever reaches it may use it",
            file=sys.stderr,
        )
    print(f"listens on {url}; Ctrl-C stops it", flush=True)
