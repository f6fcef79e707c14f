"""Addresses of cameras and streams, their names, and lists of them."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from detector.runtime.video import STREAM_PREFIXES
from detector.utils.errors import DetectorError, is_url, public_url
from detector.utils.files import read_text
from detector.utils.opencv import IMAGE_SUFFIXES
from detector.utils.unique_names import UniqueNames

LIST_SUFFIX = ".streams"
"""Suffix of a list of cameras and streams."""

MAX_LIST_BYTES = 1 << 20
"""Maximum size of such a list."""

MAX_STREAMS = 256
"""Maximum number of cameras and streams of one run: each has a thread and frames in memory."""


@dataclass(frozen=True)
class Address:
    """One camera or stream.

    Attributes:
        target: URL, path of a device, or the number of a camera.
        name: name of its results.
    """

    target: str
    name: str

    @property
    def shown(self) -> str:
        """The target without user, password and token, for messages."""
        return f"camera {self.target}" if self.target.isdecimal() else public_url(self.target)


def is_live(source: str) -> bool:
    """Return whether a source is the URL of a stream, a video device or the number of a camera."""
    if source.startswith(STREAM_PREFIXES):
        return True
    path = Path(source)
    return _is_device(path) or (source.isdecimal() and not path.exists())


def is_image_url(source: str) -> bool:
    """Return whether the path of a URL ends as that of an image, such as ``.jpg``."""
    suffix = Path(re.split(r"[?#]", source)[0]).suffix.lower()
    return is_url(source) and suffix in IMAGE_SUFFIXES


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode) and path.name.startswith("video")
    except (OSError, ValueError):
        return False


def address_of(source: str) -> Address:
    """Return the address of one camera or stream.

    Raises:
        DetectorError: it is none, or a URL with a port that is no number.
    """
    if not is_live(source):
        if is_url(source):
            raise DetectorError(f"expected one of {', '.join(STREAM_PREFIXES)}", file=source)
        raise DetectorError(
            f"expected the URL of a stream, /dev/videoN or the number of a camera, found {source!r}"
        )
    if source.isdecimal():
        return Address(str(int(source)), f"camera{int(source)}")
    if not source.startswith(STREAM_PREFIXES):
        return Address(source, Path(source).name)
    try:
        parts = urlsplit(source)
        found = parts.hostname if parts.port is None else parts.hostname and parts.port
    except ValueError:  # the port is no number, or brackets are no IPv6 address
        found = None
    if not found:
        raise DetectorError("is not a URL with a host and a port of 1 to 65535", file=source)
    return Address(source, stream_name(source))


def stream_name(url: str) -> str:
    """Return a file name for a stream's results, without user, password, address and token."""
    place = re.split(r"[?#;=]", public_url(url))[0].partition("://")[2].partition("/")[2]
    return re.sub(r"[^\w-]", "_", Path(place).stem) or "stream"


def read_list(path: Path) -> list[Address]:
    """Read a list of cameras and streams, one a line; names that occur twice become unique.

    Raises:
        DetectorError: a line is none of them, is written twice, or there are none or too many.
    """
    lines = read_text(path, MAX_LIST_BYTES, "a list of streams").splitlines()
    addresses: dict[str, Address] = {}
    names = UniqueNames()
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line:
            continue
        try:
            address = address_of(line)
        except DetectorError as error:
            message = str(error) if error.file is not None else error.message
            raise DetectorError(message, file=path, line=number) from error
        if address.target in addresses:
            raise DetectorError(f"{address.shown} is listed twice", file=path, line=number)
        addresses[address.target] = Address(address.target, names.unused(address.name))
    if not addresses:
        raise DetectorError("lists no camera or stream", file=path)
    if len(addresses) > MAX_STREAMS:
        message = f"lists {len(addresses)} cameras and streams, expected at most {MAX_STREAMS}"
        raise DetectorError(message, file=path)
    return list(addresses.values())
