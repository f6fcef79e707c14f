"""Flags about boxes, given to a network that has none, or whose file decides."""

from __future__ import annotations

from detector.cli.flags import flag_of
from detector.runtime.backend import Backend
from detector.runtime.exported import ExportedBackend
from detector.settings import NmsSettings, ToolSettings

BOX_FLAGS = NmsSettings.model_fields.keys() | {"txt"}
FILTERS = {"confidence", "max_detections", "classes"}
"""What can be asked for after suppression too."""


def note_unused(settings: ToolSettings, backend: Backend) -> None:
    """Name the flags that were given and mean nothing to this network."""
    if backend.task == "classify":
        _note(settings, BOX_FLAGS, "a classifier has no boxes and does not use")
    elif isinstance(backend, ExportedBackend) and backend.card.nms is not None:
        unused = NmsSettings.model_fields.keys() - FILTERS
        _note(settings, unused, "the file holds the suppression and does not use")


def _note(settings: ToolSettings, unused: set[str], reason: str) -> None:
    names = sorted(settings.model_fields_set & unused)
    if names:
        flags = ", ".join(flag_of(type(settings), name) for name in names)
        print(f"{reason}: {flags}")
