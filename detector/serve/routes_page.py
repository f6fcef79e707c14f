"""A page that describes the routes, made from their OpenAPI description; it loads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

EXAMPLE = "curl -F image=@bus.jpg http://127.0.0.1:8000/v1/detect"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>detector: routes</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
</head>
<body>
<header>
  <h1>Routes of detector {version}</h1>
  <p><a href="openapi.json">openapi.json</a> · <a href="./">try a picture</a></p>
  <p><code>{example}</code></p>
</header>
<main class="routes">
{routes}
</main>
</body>
</html>
"""


def routes_page(description: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        description: the OpenAPI description, as of ``FastAPI.openapi()``.
    """
    routes = [
        _route(method, path, route)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]
    version = escape(description["info"]["version"])
    return _PAGE.format(version=version, example=escape(EXAMPLE), routes="\n".join(routes))


def _route(method: str, path: str, route: Mapping[str, Any]) -> str:
    parameters = [
        (parameter["name"], _type(parameter["schema"]), parameter["description"])
        for parameter in route.get("parameters", ())
    ]
    bodies = [(kind, "", "") for kind in route.get("requestBody", {}).get("content", ())]
    answers = [(status, answer["description"]) for status, answer in route["responses"].items()]
    return (
        f"<section>\n<h2><code>{method.upper()} {escape(path)}</code></h2>\n"
        f"<p>{escape(route['summary'])}</p>\n"
        + _table("Parameter", ("Type", "Meaning"), parameters)
        + _table("Body", ("", ""), bodies)
        + _table("Status", ("Answer",), answers)
        + "</section>"
    )


def _table(first: str, others: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table, or nothing if it would have no rows."""
    if not rows:
        return ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in (first, *others))
    lines = "".join(
        f'<tr><th scope="row"><code>{escape(name)}</code></th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for name, *cells in rows
    )
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>\n"


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type with its limits, as ``number, 0 to 1``."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    kind = kinds[0]
    limits = [kind[key] for key in ("minimum", "maximum") if key in kind]
    return ", ".join(
        [kind.get("type", "text"), *([" to ".join(map(str, limits))] if limits else [])]
    )
