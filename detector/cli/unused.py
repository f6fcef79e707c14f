"""Flags about boxes, given to a network that has none."""

from __future__ import annotations

from detector.cli.flags import flag_of
from detector.runtime.backend import Backend
from detector.settings import NmsSettings, ToolSettings

BOX_FLAGS = NmsSettings.model_fields.keys() | {"txt"}


def note_unused(settings: ToolSettings, backend: Backend) -> None:
    """Name the flags that were given and mean nothing to a classifier."""
    if backend.task != "classify":
        return
    unused = sorted(settings.model_fields_set & BOX_FLAGS)
    if unused:
        flags = ", ".join(flag_of(type(settings), name) for name in unused)
        print(f"a classifier has no boxes and does not use: {flags}")
