"""JSON files of annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detector.utils.errors import DetectorError
from detector.utils.files import read_limited


def read_json(path: Path, limit_bytes: int, expected: str) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        limit_bytes: largest size that is read.
        expected: what the file should be, e.g. ``"a COCO annotation file"``.

    Raises:
        DetectorError: unreadable, too large, not JSON (names the line), or nested too deeply.
    """
    try:
        return json.loads(read_limited(path, limit_bytes, expected))
    except json.JSONDecodeError as error:
        raise DetectorError(f"JSON syntax: {error.msg}", file=path, line=error.lineno) from error
    except (ValueError, RecursionError) as error:  # not text, 4301 digits, or 1000 brackets
        raise DetectorError(f"is not {expected}", file=path) from error
