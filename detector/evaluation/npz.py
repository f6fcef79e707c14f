"""Arrays of an ``.npz`` file, read a part at a time: the file may be larger than the memory.

Nothing in it is unpickled or unpacked: compressed members could unpack to any size.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from detector.utils.archive import UNREADABLE
from detector.utils.errors import DetectorError

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""By version of the format of ``.npy``."""
_NO_HEADER = (KeyError, MemoryError, SyntaxError, tokenize.TokenError)


@dataclass(frozen=True)
class StoredArray:
    """One array, whose numbers come in their order.

    Attributes:
        shape: of the whole.
        dtype: of a number.
        file: for errors.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    file: Path
    stream: IO[bytes]

    def read(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The next numbers, as an array of that shape."""
        with _explained(self.file):
            content = self.stream.read(math.prod(shape) * self.dtype.itemsize)
            return np.frombuffer(content, self.dtype).reshape(shape)


@contextmanager
def stored_arrays(path: Path) -> Iterator[dict[str, StoredArray]]:
    """The arrays of a file by name, to be read within the block.

    Raises:
        DetectorError: no such file, damaged, compressed, encrypted, or other than plain arrays.
    """
    with _explained(path):
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
    """What a damaged or foreign file raises, as an error of one line."""
    try:
        yield
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror or error}", file=path) from error
    except (*UNREADABLE, *_NO_HEADER) as error:
        raise DetectorError("not an .npz file of plain arrays", file=path) from error
