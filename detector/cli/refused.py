"""Refuse flags without effect: for a network without boxes, or a file that has decided."""

from __future__ import annotations

from collections.abc import Iterable, Set

from detector.cli.flags import flag_of
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings import NmsSettings, ToolSettings
from detector.utils.errors import DetectorError

BOX_FLAGS = NmsSettings.model_fields.keys() | {"txt"}


def check_effect(settings: ToolSettings, backend: Backend, asked: NmsSettings) -> None:
    """Raise DetectorError for flags that were given and have no effect on this network.

    Args:
        settings: with the flags.
        backend: the network.
        asked: the thresholds that come of both.
    """
    own = backend.batch_size
    if own not in (None, getattr(settings, "batch", None)):
        note_batch(settings, own)
    if backend.task == "classify":
        refuse(settings, BOX_FLAGS, "a classifier has no boxes")
    elif isinstance(backend, ExportedBackend) and backend.metadata.nms is not None:
        refuse(
            settings,
            backend.ignored_settings(asked),
            "the file holds its NMS, which does not change",
        )
    elif asked.nms_method != "soft-gaussian":
        refuse(settings, {"sigma"}, f"--nms-method {asked.nms_method} has no such value")


def note_batch(settings: ToolSettings, own: int | None) -> None:
    """Say that a file fixes the number of images a pass, where another one was asked for."""
    if "batch" in settings.model_fields_set:
        print(f"--batch: the file takes batches of {own}, and gets those")


def given(settings: ToolSettings, names: Iterable[str]) -> list[str]:
    """The flags among these fields that were given, and not as no."""
    kind, values = type(settings), {name: getattr(settings, name) for name in names}
    return [
        flag_of(kind, name)
        for name, value in sorted(values.items())
        if name in settings.model_fields_set and value is not None and value is not False
    ]


def refuse(settings: ToolSettings, without_effect: Set[str], reason: str) -> None:
    """Raise DetectorError that names those of the fields that were given."""
    names = sorted(settings.model_fields_set & without_effect)
    if names:
        flags = ", ".join(flag_of(type(settings), name) for name in names)
        raise DetectorError(f"{flags}: {reason}; leave {'it' if len(names) == 1 else 'them'} out")
