"""Parameters of a request's URL, typed as the settings are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from detector.serve.errors import RequestError
from detector.settings.values import Count, Fraction
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import Strict


class ModelQuery(Strict):
    """Parameters of requests about a model."""

    model: str | None = Field(None, description="name of the model; default: the first")


class DetectQuery(ModelQuery):
    """Parameters of a detection; what is not given has the server's flags as default."""

    confidence: Fraction | None = Field(None, description="lowest score that is kept")
    iou: Fraction | None = Field(
        None, description="IoU above which NMS removes the box with the lower score"
    )
    max_detections: Count | None = Field(None, description="boxes per image, the best ones")
    classes: str | None = Field(
        None, description="names or numbers of classes to keep, separated by commas"
    )
    url: str | None = Field(
        None, description="public URL of an image in place of a body, where the server allows it"
    )

    def nms_options(self) -> dict[str, Any]:
        """Return the given NMS options."""
        options = self.model_dump(exclude={"model", "url"}, exclude_none=True)
        if self.classes is not None:
            options["classes"] = self.classes.split(",")
        return options


def read_query(kind: type[Strict], items: Iterable[tuple[str, str]]) -> Any:
    """Return the parameters of a URL.

    Raises:
        RequestError: one is unknown, given twice or invalid; names the nearest one.
    """
    values: dict[str, str] = {}
    for name, value in items:
        if name in values:
            raise RequestError(400, f"{name} is given twice")
        values[name] = value
    try:
        return kind(**values)
    except DetectorError as error:
        raise RequestError(400, str(error)) from error


def parameters(kind: type[Strict]) -> list[dict[str, Any]]:
    """Return the parameters as OpenAPI describes them."""
    found = []
    for name, schema in kind.model_json_schema()["properties"].items():
        text = schema.pop("description")
        found.append({"name": name, "in": "query", "description": text, "schema": schema})
    return found
