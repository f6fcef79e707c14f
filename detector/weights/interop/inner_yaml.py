"""The YAML inside a YOLOv5 checkpoint, as a model file that builds the checkpoint's network."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from detector.registry import registered
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import MAX_YAML_BYTES, MAX_YAML_DEPTH, MAX_YAML_NODES

NOT_OURS = ("inplace", "yaml_file")
"""Keys of the YAML inside that say nothing about the network."""
MAX_BITS = 64
"""Of a whole number in the YAML. Python refuses to write out very long ones."""
_EPS = re.compile(r"rows\.(\d+)\.(?:.*\.)?eps")


def model_file_text(content: dict[Any, Any], settings: Mapping[str, Any], path: Path) -> str:
    """Write the YAML out, each row with the ε that its batch norms have.

    YOLOv5 sets it in every batch norm of a network, whatever a block was made with.

    Args:
        content: the YAML's values.
        settings: of the modules, ``rows.0.bn.eps``.
        path: the checkpoint.

    Raises:
        DetectorError: there is more in it than plain values, or too much.
    """
    content = {key: value for key, value in content.items() if key not in NOT_OURS}
    _check_plain(content, path, [0, 0])
    found = _eps_of_rows(settings)
    first = 0
    for section in ("backbone", "head"):
        rows = content.get(section)
        if isinstance(rows, list):  # anything else is said where the text is read
            content[section] = [_with_eps(row, found[first + i]) for i, row in enumerate(rows)]
            first += len(rows)
    return "".join(_yaml_key(key, value) for key, value in content.items())


def _eps_of_rows(settings: Mapping[str, Any]) -> dict[int, set[Any]]:
    found: dict[int, set[Any]] = defaultdict(set)
    for name, value in settings.items():
        if match := _EPS.fullmatch(name):
            found[int(match[1])].add(value)
    return found


def _with_eps(row: Any, found: set[Any]) -> Any:
    """The row with the one ε that was found, where its block takes it and has another."""
    known = registered().get(row[2]) if _is_row(row) else None
    parameter = known.row_parameters.get("eps") if known else None
    if known is None or parameter is None or len(found) != 1 or parameter.default in found:
        return row
    try:
        arguments = known.named(row[3])
    except ValueError:  # is said where the row is built
        return row
    return [*row[:3], {"eps": next(iter(found)), **arguments}]


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 4
        and isinstance(row[2], str)
        and isinstance(row[3], (list, dict))
    )


def _yaml_key(key: Any, value: Any) -> str:
    """One key of the model file; a list of rows has one a line."""
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        return yaml.safe_dump({key: value}, sort_keys=False)
    rows = (
        yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=math.inf)
        for row in value
    )
    return f"{key}:\n" + "".join(f"  - {row}" for row in rows)


def _check_plain(value: Any, path: Path, count: list[int], depth: int = 0) -> None:
    """Refuse records, and lists that hold themselves; counts values and characters."""
    count[0] += 1
    count[1] += len(value) if isinstance(value, str) else 0
    if count[0] > MAX_YAML_NODES or count[1] > MAX_YAML_BYTES or depth > MAX_YAML_DEPTH:
        raise DetectorError("the YAML inside is too large", file=path)
    if isinstance(value, dict):
        for key, child in value.items():
            _check_plain(key, path, count, depth + 1)
            _check_plain(child, path, count, depth + 1)
    elif isinstance(value, (list, tuple)):
        for child in value:
            _check_plain(child, path, count, depth + 1)
    elif isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise DetectorError(
            f"the YAML inside holds a number of {value.bit_length()} bits", file=path
        )
    elif not (value is None or isinstance(value, (int, float)) or is_text(value)):
        raise DetectorError(
            f"the YAML inside holds a {type(value).__name__}, expected plain values", file=path
        )


def is_text(value: Any) -> bool:
    """Half a surrogate pair is a string, but nothing can write it."""
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()
