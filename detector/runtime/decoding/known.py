"""All ways of decoding that an exported file may state."""

from __future__ import annotations

from typing import Annotated

import pydantic

from detector.runtime.decoding.anchors import AnchorDecoding
from detector.runtime.decoding.default_boxes import DefaultBoxDecoding
from detector.runtime.decoding.points import CentreDecoding, DistanceDecoding
from detector.runtime.decoding.refined_boxes import RefinedBoxDecoding

KnownDecoding = Annotated[
    AnchorDecoding | CentreDecoding | DistanceDecoding | DefaultBoxDecoding | RefinedBoxDecoding,
    pydantic.Field(discriminator="kind"),
]
"""One of the ways of decoding, told by its ``kind``."""
