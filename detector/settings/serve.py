"""Settings of ``serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from detector.settings.common import RuntimeSettings, ToolSettings
from detector.settings.nms import BasicNmsSettings, NmsSettings
from detector.settings.values import Count, Positive


class ServeSettings(ToolSettings, RuntimeSettings, BasicNmsSettings):
    """Answer requests over HTTP, with a page to try it on."""

    weights: Annotated[tuple[Path, ...], Field(min_length=1)] = Field(
        description="exported files; each is a model by its file's stem, the first answers where "
        "none is named",
        json_schema_extra={"positional": "FILES"},
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: all")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0: any free one")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="processes, each with the models, the limits below, and its share of the cores",
    )
    token_file: Path | None = Field(
        None,
        description="file with a token that requests must bring; default: the variable "
        "DETECTOR_TOKEN, else no token",
    )
    allow_urls: bool = Field(
        False, description="requests may name an image of the public internet by its URL"
    )
    max_batch: Count = Field(8, description="images per forward pass, unless the file fixes it")
    max_wait_ms: Annotated[float, Field(ge=0, le=10_000)] = Field(
        2.0, description="time that an image waits for others of its batch"
    )
    queue: Count = Field(
        64, description="images accepted and not yet answered; requests beyond get status 503"
    )
    max_images: Count = Field(16, description="images per request")
    max_mb: Positive = Field(32.0, description="megabytes per request")
    max_megapixels: Annotated[float, Field(gt=0, le=134)] = Field(
        50.0, description="megapixels per image"
    )
    upload_mb: Positive = Field(
        512.0, description="megabytes of all requests in memory; requests beyond get status 503"
    )
    request_seconds: Positive = Field(30.0, description="longest time for sending a request")
    connections: Count = Field(256, description="connections at the same time")
    grace_seconds: Positive = Field(
        60.0, description="longest time for answering what was accepted before a stop"
    )

    def nms(self) -> NmsSettings:
        """Return the NMS settings of the flags."""
        return NmsSettings(**{name: getattr(self, name) for name in BasicNmsSettings.model_fields})

    def nms_options(self) -> dict[str, Any]:
        """Return the given NMS flags, which a request may override."""
        names = BasicNmsSettings.model_fields.keys() & self.model_fields_set
        return {name: getattr(self, name) for name in sorted(names)}
