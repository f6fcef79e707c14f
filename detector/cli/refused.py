"""Refusal of flags that have no effect on the given network or exported file."""

from __future__ import annotations

from collections.abc import Iterable, Set

from detector.cli.flags import flag_of
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.settings.common import ToolSettings, ViewSettings
from detector.settings.nms import NmsSettings
from detector.settings.track import TrackSettings
from detector.utils.errors import DetectorError

PART_FLAGS = ViewSettings.model_fields.keys()

TRACK_FLAGS = TrackSettings.model_fields.keys()

BOX_FLAGS = (
    NmsSettings.model_fields.keys()
    | PART_FLAGS
    | TRACK_FLAGS
    | {
        "txt",
        "txt_scores",
        "save_labels",
        "label_confidence",
        "class_confidence",
    }
)
"""Settings that affect boxes only."""


def check_effect(settings: ToolSettings, backend: Backend, requested: NmsSettings) -> None:
    """Raise DetectorError for given flags that have no effect on this network.

    Args:
        settings: settings with the given flags.
        backend: the network.
        requested: NMS settings that result from both.
    """
    own = backend.batch_size
    if own not in (None, getattr(settings, "batch", None)):
        note_batch(settings, own)
    if backend.task == "classify":
        refuse(settings, BOX_FLAGS, "a classifier has no boxes")
    elif isinstance(backend, ExportedBackend) and backend.metadata.nms is not None:
        refuse(
            settings,
            backend.ignored_settings(requested),
            "the file holds its NMS, which is fixed",
        )
    elif requested.nms_method != "soft-gaussian":
        refuse(settings, {"sigma"}, f"--nms-method {requested.nms_method} has no such value")


def note_batch(settings: ToolSettings, own: int | None) -> None:
    """Print a note if the given batch size is replaced by the one that the file fixes."""
    if "batch" in settings.model_fields_set:
        print(f"--batch: the file has a fixed batch size of {own}, which is used instead")


def given(settings: ToolSettings, names: Iterable[str]) -> list[str]:
    """Return the flags of those fields that were given with a value other than None or False."""
    kind, values = type(settings), {name: getattr(settings, name) for name in names}
    return [
        flag_of(kind, name)
        for name, value in sorted(values.items())
        if name in settings.model_fields_set and value is not None and value is not False
    ]


def refuse(settings: ToolSettings, without_effect: Set[str], reason: str) -> None:
    """Raise DetectorError if any of the fields was given; name their flags and the reason."""
    names = sorted(settings.model_fields_set & without_effect)
    if names:
        flags = ", ".join(flag_of(type(settings), name) for name in names)
        raise DetectorError(f"{flags}: {reason}; omit {'it' if len(names) == 1 else 'them'}")
