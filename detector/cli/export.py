"""``export``: write a fused network to a file for other runtimes, compared and certified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector.cli.flags import format_flags
from detector.cli.refused import refuse
from detector.export.request import accept_as, export_as
from detector.settings.export import ExportSettings
from detector.settings.nms import BasicNmsSettings
from detector.utils.errors import public_url
from detector.weights.checkpoint import load

DECIDED_BY_FILE = BasicNmsSettings.model_fields.keys() | {
    "format",
    "imgsz",
    "batch",
    "dynamic",
    "opset",
    "decoded",
    "precision",
    "nms",
    "calibrate",
    "calibration_split",
    "calibration_images",
    "per_tensor",
    "max_drop",
}
"""Settings of a file that ``--accept`` takes as the file has them."""


def export(settings: ExportSettings) -> dict[str, Any]:
    """Export weights; print and return the report of the comparison.

    Raises:
        DetectorError: the weights cannot be read, a flag has no effect, or the file's outputs
            differ from the network's.
    """
    command = f"tools/export.py {format_flags(_without_folders(settings))}"
    if settings.accept is not None:
        refuse(settings, DECIDED_BY_FILE, "the file of --accept decides it")
        report = accept_as(
            load(settings.weights),
            settings,
            settings.accept,
            settings.output or settings.accept,
            command,
        )
        print(*report.lines(), sep="\n")
        return report.to_dict()
    if not settings.nms:
        refuse(settings, BasicNmsSettings.model_fields.keys(), "without --nms it has no effect")
    output = settings.output or settings.weights.with_suffix("")
    report = export_as(load(settings.weights), settings, output, command)
    print(*report.lines(), sep="\n")
    return report.to_dict()


def _without_folders(settings: ExportSettings) -> ExportSettings:
    """Reduce paths and URLs to file names, since the command is stored in a shared file."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    paths = {
        name: type(value)(Path(public_url(str(value))).name)
        for name, value in given.items()
        if isinstance(value, Path) or (isinstance(value, str) and Path(value).name != value)
    }
    return settings.model_copy(update=paths)
