"""A model file that names another one's backbone, written out: what is stored with weights.

The text builds the same network and needs no other file: words have become their values, numbers
and widths are multiplied, activations stand in their rows. Only ``nc`` stays a word, so that the
network can be built again for other classes, unless it is a width that is multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from detector.model.builder import Row
from detector.model.model_file import ModelFile, RawRow
from detector.registry import contract

KEPT = {"nc", "names", "ch", "imgsz", "preprocess"}
"""Keys that say the same in the written file; all others have gone into the rows."""
LEFT_OUT = "left_out"
"""The word for 0, which a row's number may be by a word only."""


def expanded(model_file: ModelFile, rows: Sequence[Row]) -> str:
    """The text of a file with all rows of ``model_file``.

    Args:
        model_file: the file.
        rows: as they were built from it.
    """
    keys = model_file.keys.model_dump(mode="json", include=KEPT, exclude_unset=True)
    keys["values"] = {LEFT_OUT: 0}
    if model_file.variant is not None:
        keys["variants"] = {model_file.variant: {}}
    lines = [f"{key}: {_flow(value)}" for key, value in keys.items()]
    section = None
    for raw, row in zip(model_file.rows, rows, strict=True):
        if raw.section != section:
            section = raw.section
            lines.append(f"\n{section}:")
        lines.append(f"  - {_flow(_written(raw, row))}")
    return "\n".join(lines) + "\n"


def _written(raw: RawRow, row: Row) -> list[Any]:
    known = contract(raw.module)
    scaled = known.widths if raw.scope.width_multiple is not None else ()
    classes = {name for name, value in known.named(raw.args).items() if value == "nc"}
    arguments = {
        name: "nc" if name in classes.difference(scaled) else value
        for name, value in row.arguments.items()
    }
    return [raw.source, row.number or LEFT_OUT, raw.module, arguments]


def _flow(value: Any) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")
