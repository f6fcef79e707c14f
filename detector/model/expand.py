"""Expansion of a model file that names another file's backbone into one self-contained file.

The expanded text is stored with weights. It builds the same network and needs no other file: words
are replaced by their values, numbers and widths are multiplied, activations are written into their
rows. Only ``nc`` stays a word, so that the network can be rebuilt for other classes, unless it is a
width that is multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from detector.model.builder import Row
from detector.model.model_file import ModelFile, RawRow
from detector.registry import contract

KEPT = {"nc", "names", "ch", "imgsz", "preprocess"}
"""Keys that are copied into the expanded file; all others are applied to the rows."""
LEFT_OUT = "left_out"
"""Word that stands for the number 0, which a row may not give literally."""


def expanded(model_file: ModelFile, rows: Sequence[Row]) -> str:
    """Return the text of a self-contained model file with all rows of ``model_file``.

    Args:
        model_file: model file that names another file's backbone.
        rows: rows as they were built from it.
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
        lines.append(f"  - {_flow(_expanded_row(raw, row))}")
    return "\n".join(lines) + "\n"


def _expanded_row(raw: RawRow, row: Row) -> list[Any]:
    known = contract(raw.module)
    scaled = known.widths if raw.scope.width_multiple is not None else ()
    classes = {name for name, value in known.named(raw.args).items() if value == "nc"}
    arguments = {
        name: "nc" if name in classes.difference(scaled) else value
        for name, value in row.arguments.items()
    }
    return [raw.source, row.number or LEFT_OUT, raw.module, arguments]


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")
