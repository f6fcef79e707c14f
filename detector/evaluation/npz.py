"""Reader of ``.npz`` files in parts, for files larger than memory.

Nothing is unpickled. Compressed members are refused, since they could expand to any size.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from detector.utils.archive import NO_ARRAYS
from detector.utils.errors import DetectorError
from detector.utils.files import refuse_special

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Readers of headers by version of the ``.npy`` format."""


@dataclass(frozen=True)
class StoredArray:
    """One array of a file, read from its beginning to its end.

    Attributes:
        shape: shape of the whole array.
        dtype: type of its values.
        file: the file, for error messages.
        stream: position of the next value.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    file: Path
    stream: IO[bytes]

    def read(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read the next values as an array of that shape."""
        with _explained(self.file):
            content = self.stream.read(math.prod(shape) * self.dtype.itemsize)
            return np.frombuffer(content, self.dtype).reshape(shape)


@contextmanager
def stored_arrays(path: Path) -> Iterator[dict[str, StoredArray]]:
    """Open a file and yield its arrays by name, to be read within the block.

    Raises:
        DetectorError: no such file, damaged, compressed, encrypted, or not plain arrays.
    """
    with _explained(path):
        refuse_special(path, "an .npz file")
        opened = zipfile.ZipFile(path)
    with opened:
        yield {
            member.filename.removesuffix(".npy"): _array(opened, member, path)
            for member in opened.infolist()
        }


def _array(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> StoredArray:
    name = member.filename.removesuffix(".npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise DetectorError(f"{name!r} is compressed; write it with numpy.savez", file=path)
    with _explained(path):
        stream = opened.open(member)
        version = np.lib.format.read_magic(stream)
        shape, by_column, dtype = _HEADERS[version](stream)
        size = stream.tell() + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size != member.file_size:
        raise DetectorError("not an .npz file of plain arrays", file=path)
    if by_column:
        raise DetectorError(
            f"{name!r} is stored by columns; write numpy.ascontiguousarray of it", file=path
        )
    return StoredArray(shape, dtype, path, stream)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Convert the exceptions of a damaged or foreign file to a DetectorError of one line."""
    try:
        yield
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror or error}", file=path) from error
    except NO_ARRAYS as error:
        raise DetectorError("not an .npz file of plain arrays", file=path) from error
