"""Routes of the server: detection, description of a model, health, metrics, and the page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from detector import __version__
from detector.serve.errors import RequestError
from detector.serve.guard import Guard
from detector.serve.metrics import CONTENT_TYPE
from detector.serve.model import Answer, ServedModel
from detector.serve.query import DetectQuery, ModelQuery, parameters, read_query
from detector.serve.remote import fetch
from detector.serve.routes_page import routes_page
from detector.serve.service import Service
from detector.serve.uploads import Lease, Upload, read_uploads
from detector.utils.errors import DetectorError, nearest

PNG = "image/png"

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/motion.js": ("motion.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
"""Files of the page by path, with their types."""

ROUTES_PAGE = "/docs"

_HEALTH = ("/healthz", "/readyz")

_NO_TELEMETRY: Any = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}
"""FastAPI's own reports to a collector; off whatever the environment says."""

_IMAGE = {"type": "string", "format": "binary"}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"image": _IMAGE, "images": {"type": "array", "items": _IMAGE}},
            }
        },
        "image/*": {"schema": _IMAGE},
    },
}
_STATUSES = {
    "200": "JSON with the boxes of each image in pixels of the original; with 'Accept: image/png' "
    "the one image with its boxes drawn.",
    "400": "A parameter or the form is wrong.",
    "401": "The token is missing or wrong.",
    "403": "A URL is not allowed, or not of the public internet.",
    "404": "There is no such model.",
    "406": "image/png was asked for several images.",
    "408": "The request was not complete in time.",
    "413": "Too many bytes or images.",
    "415": "The body is neither a form nor an image.",
    "422": "An image cannot be read; says which, and why.",
    "503": "The server is busy; Retry-After says when to try again.",
}


def create_app(service: Service) -> ASGIApp:
    """Return the application for some models."""
    app = FastAPI(
        title="detector",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
    )
    routes = _Routes(service)
    answers = {status: {"description": text} for status, text in _STATUSES.items()}
    app.add_api_route(
        "/v1/detect",
        routes.detect,
        methods=["POST"],
        summary="Detect objects in images, or classify them",
        openapi_extra={
            "parameters": parameters(DetectQuery),
            "requestBody": _BODY,
            "responses": answers,
        },
    )
    app.add_api_route(
        "/v1/model",
        routes.describe,
        summary="Names, preprocessing, precision and certificate of a model",
        openapi_extra={"parameters": parameters(ModelQuery)},
    )
    app.add_api_route("/healthz", routes.health, summary="The process answers")
    app.add_api_route("/readyz", routes.ready, summary="The models take requests")
    app.add_api_route("/metrics", routes.metrics, summary="Metrics in Prometheus' text format")
    for path, (name, media_type) in PAGE.items():
        content = (Path(__file__).parent / "page" / name).read_bytes()
        app.add_api_route(path, _constant(content, media_type), include_in_schema=False)
    page = routes_page(app.openapi()).encode()
    app.add_api_route(ROUTES_PAGE, _constant(page, "text/html"), include_in_schema=False)
    app.add_exception_handler(RequestError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(ClientDisconnect, _answer_error)
    app.add_exception_handler(Exception, _answer_error)
    known = [route.path for route in app.routes if hasattr(route, "path")]
    open_paths = [*PAGE, ROUTES_PAGE, *_HEALTH]
    return Guard(app, service.token, known, open_paths, service.metrics)


class _Routes:
    """The routes of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def detect(self, request: Request) -> Response:
        query: DetectQuery = read_query(DetectQuery, request.query_params.multi_items())
        model = self._service.model(query.model)
        try:
            nms = model.nms(query.nms_options())
        except DetectorError as error:
            raise RequestError(400, str(error)) from error
        with model.queue.reserve(1):  # a full server refuses before the body is read
            pass
        with self._service.memory.lease() as lease:
            uploads = await self._uploads(request, query.url, lease)
            wants_png = _accepts_png(request)
            if wants_png and len(uploads) > 1:
                raise RequestError(406, f"{PNG} is the answer for one image, found {len(uploads)}")
            answers = await model.predict(uploads, nms)
            if wants_png:
                return Response(await model.draw(uploads[0], answers[0]), media_type=PNG)
        return _json_of(model, answers)

    async def _uploads(self, request: Request, url: str | None, lease: Lease) -> list[Upload]:
        """Return the images of a request's body, or that of its URL."""
        service = self._service
        if url is None:
            return await read_uploads(request, service.limits, lease)
        if not service.allow_urls:
            raise RequestError(403, "url: this server fetches nothing; it needs --allow-urls")
        if request.headers.get("content-length", "0") != "0" or (
            "transfer-encoding" in request.headers
        ):
            raise RequestError(400, "url and a body: expected one of both")
        lease.take(service.limits.max_bytes)  # the file may be as large
        limits = service.limits
        upload = await asyncio.get_running_loop().run_in_executor(
            None, fetch, url, limits.max_bytes, limits.seconds
        )
        return [upload]

    async def describe(self, request: Request) -> Response:
        query: ModelQuery = read_query(ModelQuery, request.query_params.multi_items())
        found = self._service.model(query.model).describe()
        return JSONResponse({**found, "models": list(self._service.models)})

    async def health(self) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self) -> Response:
        return JSONResponse({"status": "ready", "models": list(self._service.models)})

    async def metrics(self) -> Response:
        return Response(self._service.metrics.text(), media_type=CONTENT_TYPE)


def _json_of(model: ServedModel, answers: list[Answer]) -> Response:
    """Return the answers as JSON.

    Raises:
        RequestError: a number is not finite, which JSON cannot express.
    """
    content = {"model": model.name, "images": [answer.to_dict() for answer in answers]}
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise RequestError(500, "a result is not a finite number") from error
    return Response(text.encode("utf-8", "replace"), media_type="application/json")


def _accepts_png(request: Request) -> bool:
    """Return whether the header Accept names PNG and not JSON."""
    types = {
        item.partition(";")[0].strip() for item in request.headers.get("accept", "").split(",")
    }
    return PNG in types and "application/json" not in types


def _constant(content: bytes, media_type: str) -> Any:
    """Return a route whose answer is always the same."""

    async def answer() -> Response:
        return Response(content, media_type=media_type)

    return answer


async def _answer_error(request: Request, error: Exception) -> Response:
    """Answer with one line of JSON."""
    if isinstance(error, RequestError):
        return JSONResponse({"error": str(error)}, error.status, error.headers)
    if isinstance(error, HTTPException):
        return JSONResponse({"error": _http_line(request, error)}, error.status_code, error.headers)
    if isinstance(error, ClientDisconnect):
        return JSONResponse({"error": "the client has left"}, 400)
    return JSONResponse({"error": "unexpected error; the server's log says more"}, 500)


def _http_line(request: Request, error: HTTPException) -> str:
    """Return one line about a wrong path or method."""
    method, path = request.method, request.url.path
    if error.status_code == 404:
        known = [route.path for route in request.app.routes if hasattr(route, "path")]
        return f"no such path {path!r}{nearest(path, known)}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow")
        return f"{path} takes {allowed}, found {method}"
    return str(error.detail)
