"""Flags that mean nothing beside others, to a network without boxes, or to a file that decides."""

from __future__ import annotations

from collections.abc import Iterable, Set

from detector.cli.flags import flag_of
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings import NmsSettings, ToolSettings

BOX_FLAGS = NmsSettings.model_fields.keys() | {"txt"}


def note_unused(settings: ToolSettings, backend: Backend, asked: NmsSettings) -> None:
    """Name the flags that were given and mean nothing to this network.

    Args:
        settings: with the flags.
        backend: the network.
        asked: the thresholds that come of both.
    """
    own = backend.batch_size
    if own not in (None, getattr(settings, "batch", None)):
        note(settings, {"batch"}, f"the file is for batches of {own} and does not use")
    if backend.task == "classify":
        note(settings, BOX_FLAGS, "a classifier has no boxes and does not use")
    elif isinstance(backend, ExportedBackend) and backend.card.nms is not None:
        note(settings, backend.overruled(asked), "the file holds the suppression and does not use")
    elif asked.suppression != "soft-gaussian":
        note(settings, {"sigma"}, f"--suppression {asked.suppression} does not use")


def given(settings: ToolSettings, names: Iterable[str]) -> list[str]:
    """The flags among these fields that were given, and not as no."""
    kind, values = type(settings), {name: getattr(settings, name) for name in names}
    return [
        flag_of(kind, name)
        for name, value in sorted(values.items())
        if name in settings.model_fields_set and value is not None and value is not False
    ]


def note(settings: ToolSettings, unused: Set[str], reason: str) -> None:
    """Name those of the unused flags that were given, in one line."""
    names = sorted(settings.model_fields_set & unused)
    if names:
        flags = ", ".join(flag_of(type(settings), name) for name in names)
        print(f"{reason}: {flags}")
