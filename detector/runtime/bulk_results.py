"""Folder of Parquet files that a job of many workers writes: its schema, and what is written."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detector.runtime.bulk import Row
from detector.settings.values import TaskName
from detector.utils.errors import DetectorError
from detector.utils.files import read_text, write_text
from detector.utils.system import require

RUN = "_run.json"
"""File that says by which weights and settings the rows of a folder were made; readers of Parquet
folders leave out names that begin with an underscore."""

MAX_RUN_BYTES = 1 << 20

logger = logging.getLogger(__name__)


def to_table(rows: Iterable[Row], task: TaskName) -> Any:
    """Return rows as a pyarrow.Table, whose columns do not depend on the rows."""
    return require("pyarrow").Table.from_pylist(list(rows), _schema(task))


def open_results(folder: Path, weights: Path, settings: dict[str, Any]) -> frozenset[str]:
    """Return the paths of the images that are written, and make the folder if there is none.

    Files that a killed job left incomplete are removed: their images are predicted again.

    Args:
        folder: Parquet files with a row for each image.
        weights: the file that makes the rows.
        settings: what else decides them, as plain values.

    Raises:
        DetectorError: the folder holds other Parquet files, or rows of other weights or settings.
    """
    require("pyarrow")
    parts = sorted(folder.glob("*.parquet"))
    path, run = folder / RUN, {"weights_sha256": _digest(weights), **settings}
    if path.exists():
        _check_run(path, run)
    elif parts:
        raise DetectorError(f"holds Parquet files, but no {RUN}; name a new folder", file=folder)
    else:
        write_text(path, f"{json.dumps(run, indent=1)}\n")
    return frozenset(name for part in parts for name in _paths(part))


def _digest(weights: Path) -> str:
    """Return the SHA-256 of a weights file, and of the ``.bin`` that belongs to an ``.xml``."""
    files = [weights, weights.with_suffix(".bin")] if weights.suffix == ".xml" else [weights]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _check_run(path: Path, run: dict[str, Any]) -> None:
    try:
        earlier = json.loads(read_text(path, MAX_RUN_BYTES, "settings of a run"))
    except ValueError as error:
        raise DetectorError("is not JSON", file=path) from error
    for key, value in run.items():
        found = earlier.get(key) if isinstance(earlier, dict) else None
        if found != value:
            message = f"the rows here were made with {key} {found}, not {value}; name a new folder"
            raise DetectorError(message, file=path.parent)


def _paths(part: Path) -> list[str]:
    """Return the paths of the images in a file; of an incomplete one none, and remove it."""
    pa, pq = require("pyarrow"), require("pyarrow.parquet")
    try:
        return pq.read_table(part, columns=["path"])["path"].to_pylist()  # type: ignore[no-any-return]
    except pa.ArrowException:
        logger.warning("%s: incomplete, removed; its images are predicted again", part)
        part.unlink()
        return []


def _schema(task: TaskName) -> Any:
    pa = require("pyarrow")
    numbers, classes = pa.list_(pa.float64()), pa.list_(pa.string())
    fields = {"name": pa.string(), "path": pa.string(), "size_hw": pa.list_(pa.int32())}
    if task == "detect":
        fields |= {"boxes_xyxy": pa.list_(numbers), "scores": numbers}
    else:
        fields |= {"probabilities": numbers}
    fields |= {"class_ids": pa.list_(pa.int64()), "class_names": classes, "error": pa.string()}
    return pa.schema(fields)
