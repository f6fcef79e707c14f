"""``export``: weights → a fused, compared, certified file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector.cli.flags import written_out
from detector.cli.refused import refuse
from detector.export.request import export_as
from detector.settings import BasicNmsSettings, ExportSettings
from detector.weights.checkpoint import load


def export(settings: ExportSettings) -> dict[str, Any]:
    """Export, print and return what the comparison found."""
    if not settings.nms:
        refuse(settings, BasicNmsSettings.model_fields.keys(), "without --nms it has no effect")
    output = settings.output or settings.weights.with_suffix("")
    command = f"tools/export.py {written_out(_without_folders(settings))}"
    report = export_as(load(settings.weights), settings, output, command)
    print(*report.lines(), sep="\n")
    return report.to_dict()


def _without_folders(settings: ExportSettings) -> ExportSettings:
    """Reduce paths to names: the command goes into a file that others get."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    paths = {
        name: type(value)(Path(value).name)
        for name, value in given.items()
        if isinstance(value, Path) or (isinstance(value, str) and Path(value).name != value)
    }
    return settings.model_copy(update=paths)
