"""Conversion of the YAML inside a YOLOv5 checkpoint to a model file that builds its network."""

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

IGNORED_KEYS = ("inplace", "yaml_file", "channels")
"""Keys of the embedded YAML that do not describe the network and are dropped."""
MAX_BITS = 64
"""Maximum size of an integer in the YAML, in bits. Python refuses to print very long ones."""
_EPS = re.compile(r"rows\.(\d+)\.(?:.*\.)?eps")


def model_file_text(content: dict[Any, Any], settings: Mapping[str, Any], path: Path) -> str:
    """Return the YAML as text, with the ε of its batch norms added to each row.

    YOLOv5 sets ε on all batch norms after it has built the network, so its rows do not have it.

    Args:
        content: the YAML's values.
        settings: attributes of modules by path, such as ``rows.0.bn.eps``.
        path: the checkpoint, for error messages.

    Raises:
        DetectorError: the YAML holds other than plain values, or is too large.
    """
    content = {key: value for key, value in content.items() if key not in IGNORED_KEYS}
    _check_plain(content, path, [0, 0])
    found = _eps_of_rows(settings)
    first = 0
    for section in ("backbone", "head"):
        rows = content.get(section)
        if isinstance(rows, list):  # anything else is reported when the text is parsed
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
    """Add ε to a row if its block has that parameter, a different default, and a single value."""
    known = registered().get(row[2]) if _is_row(row) else None
    parameter = known.row_parameters.get("eps") if known else None
    if known is None or parameter is None or len(found) != 1 or parameter.default in found:
        return row
    try:
        arguments = known.named(row[3])
    except ValueError:  # reported when the row is built
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
    """Return one key of the model file as text; a list of rows takes one line per row."""
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        return yaml.safe_dump({key: value}, sort_keys=False)
    rows = (
        yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=math.inf)
        for row in value
    )
    return f"{key}:\n" + "".join(f"  - {row}" for row in rows)


def _check_plain(value: Any, path: Path, count: list[int], depth: int = 0) -> None:
    """Refuse objects other than plain values, and more of them than any model file needs.

    Args:
        value: the value to check, with all values inside it.
        path: the checkpoint, for error messages.
        count: values and characters seen so far; updated in place.
        depth: nesting depth; its limit ends lists that contain themselves.
    """
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
    """Return whether a value is a string that UTF-8 can encode; half a surrogate pair is not."""
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()
