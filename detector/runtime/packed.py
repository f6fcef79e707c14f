"""Images within other files: WebDataset's tars, and Parquet files with a column of image bytes.

A damaged file ends with its error, after the images that can be read. Nothing is unpacked to the
disk, and one image is in memory.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detector.utils.errors import DetectorError, nearest, one_line
from detector.utils.files import refuse_special
from detector.utils.opencv import IMAGE_SUFFIXES, MAX_IMAGE_BYTES
from detector.utils.system import require
from detector.utils.unique_names import UniqueNames

PACKED_SUFFIXES = frozenset((".parquet", ".tar"))

IMAGE_COLUMN = "bytes"
"""Column of a Parquet file that holds image files, or Hugging Face's structs of bytes and path."""

Packed = tuple[str, "bytes | DetectorError"]
"""Name of an image within its file, and its bytes or why it has none; "" names the file itself."""


def is_packed(path: str | Path) -> bool:
    """Return whether a file's suffix is that of a tar or a Parquet file."""
    return os.path.splitext(path)[1].lower() in PACKED_SUFFIXES


def packed_images(
    path: Path, image_column: str = IMAGE_COLUMN, name_column: str | None = None
) -> Iterator[Packed]:
    """Yield the images of a tar or a Parquet file, under names that differ.

    Args:
        path: the file.
        image_column: column of the images of a Parquet file.
        name_column: column of their names; None names them by their row, from 0.
    """
    names = UniqueNames()
    try:
        refuse_special(path, "a tar or Parquet file")
        if path.suffix.lower() == ".tar":
            images = _of_tar(path)
        else:
            images = _of_parquet(path, image_column, name_column)
        for name, image in images:
            yield names.unused(name), image
    except DetectorError as error:
        yield "", error
    except OSError as error:
        yield "", DetectorError(f"cannot be read: {error.strerror or one_line(error)}", file=path)


class _LimitedReader(io.BufferedReader):
    """Reader of a file in parts of a limited size: headers of a tar state what is to be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_IMAGE_BYTES:
            raise tarfile.ReadError(f"a part of {size} bytes, at most {MAX_IMAGE_BYTES} are read")
        return super().read(size)


def _of_tar(path: Path) -> Iterator[Packed]:
    """Yield the images of a tar, in its order; other members, such as labels, are not images."""
    with _LimitedReader(io.FileIO(path)) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:", errorlevel=2) as tar:
                yield from _members(tar, file, path)
        except (tarfile.TarError, RecursionError, ValueError, OverflowError) as error:
            message = f"is not a whole tar: {one_line(error)}"
            raise DetectorError(message, file=path) from error


def _members(tar: tarfile.TarFile, file: io.BufferedReader, path: Path) -> Iterator[Packed]:
    """Yield the images among the members, and raise where Python ends at a damaged one."""
    end = -1
    while (member := tar.next()) is not None:
        if tar.offset <= end:  # a negative size leads back to where it was
            raise tarfile.ReadError(f"the member at byte {member.offset} has a wrong size")
        end = tar.offset
        tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all
        if not member.isdir() and os.path.splitext(member.name)[1].lower() in IMAGE_SUFFIXES:
            yield member.name, _content(tar, member, path / member.name)
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or block.strip(b"\0"):
        found = "nothing" if not block else "no header"
        raise tarfile.ReadError(f"{found} at byte {tar.offset}, expected a member or the end mark")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, name: Path) -> bytes | DetectorError:
    if not member.isreg():
        return DetectorError("is a link or a device in the tar, expected a file", file=name)
    if member.size > MAX_IMAGE_BYTES:
        message = f"{member.size} bytes, at most {MAX_IMAGE_BYTES} are read"
        return DetectorError(message, file=name)
    file = tar.extractfile(member)
    assert file is not None  # a regular file has content
    return file.read()


def _of_parquet(path: Path, image_column: str, name_column: str | None) -> Iterator[Packed]:
    """Yield the images of a Parquet file, in the order of its rows."""
    pa, pq = require("pyarrow"), require("pyarrow.parquet")
    columns = [image_column] if name_column is None else [image_column, name_column]
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(file.schema_arrow, columns, path)
            rows = (
                row
                for batch in file.iter_batches(1, columns=columns, use_threads=False)
                for row in batch.to_pylist()
            )
            for number, row in enumerate(rows):
                name = str(number if name_column is None else row[name_column])
                yield name, _cell(row[image_column], path / name)
    except pa.ArrowException as error:
        message = f"is not a whole Parquet file: {one_line(error)}"
        raise DetectorError(message, file=path) from error


def _check_columns(schema: Any, columns: list[str], path: Path) -> None:
    for column in columns:
        if column not in schema.names:
            hint = nearest(column, schema.names) or f"; found {', '.join(schema.names)}"
            raise DetectorError(f"has no column {column!r}{hint}", file=path)
    found = str(schema.field(columns[0]).type)
    if found not in ("binary", "large_binary") and not found.startswith("struct<bytes: binary"):
        message = f"column {columns[0]!r} is {found}, expected binary"
        raise DetectorError(message, file=path)


def _cell(value: Any, name: Path) -> bytes | DetectorError:
    content = value["bytes"] if isinstance(value, dict) else value
    if content is None:
        return DetectorError("the row has no bytes", file=name)
    return bytes(content)
