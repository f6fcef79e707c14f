"""Reading of the images of a request, with limits on bytes, number and time.

Bodies are read in pieces and kept in memory; nothing is written to the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from detector.serve.errors import RequestError, full
from detector.structures.images import to_rgb
from detector.utils.errors import DetectorError, nearest, one_line, shown
from detector.utils.image_header import stated_pixels
from detector.utils.opencv import Image

FIELDS = ("image", "images")
"""Names of the form's fields that hold images."""

MAX_PART_HEADER_BYTES = 8192
"""Largest header of a part of a form; browsers write about 200 bytes."""

MEGA = 1_000_000

_BARE_TYPES = ("image/", "application/octet-stream")


@dataclass(frozen=True)
class Upload:
    """One image file of a request.

    Attributes:
        name: the client's name for it, without folders.
        data: content of the file.
    """

    name: str
    data: bytes

    def decode(self, max_megapixels: float) -> Image:
        """Return the image, (h, w, 3) uint8 RGB.

        Raises:
            DetectorError: it cannot be decoded, or its header does not say that it is small enough.
        """
        pixels = stated_pixels(self.data)
        if pixels is None and self.data:
            raise DetectorError(
                "is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PNM image, or its header is cut",
                file=self.name,
            )
        if pixels is not None and pixels > max_megapixels * MEGA:
            raise DetectorError(
                f"has {pixels:,} pixels, at most {max_megapixels * MEGA:,.0f} are read",
                file=self.name,
            )
        try:
            return to_rgb(self.data)
        except DetectorError as error:
            raise DetectorError(error.message, file=self.name) from error


@dataclass(frozen=True)
class UploadLimits:
    """Limits of one request.

    Attributes:
        max_bytes: of the body.
        max_images: number of images.
        seconds: time until the body is complete.
    """

    max_bytes: int
    max_images: int
    seconds: float


class UploadMemory:
    """Bytes of all requests that are in memory; used by the event loop's thread only.

    Args:
        limit: largest number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Yield a lease of memory, whose bytes are free again after the block."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.used -= lease.held


class Lease:
    """Bytes that one request holds."""

    def __init__(self, memory: UploadMemory) -> None:
        self._memory = memory
        self.held = 0

    def take(self, count: int) -> None:
        """Hold more bytes; RequestError if too many are in memory."""
        if self._memory.used + count > self._memory.limit:
            limit = self._memory.limit / MEGA
            raise full(f"other requests hold the {limit:g} MB that uploads may take; try again")
        self._memory.used += count
        self.held += count


async def read_uploads(request: Request, limits: UploadLimits, lease: Lease) -> list[Upload]:
    """Read the images of a request: a form's fields ``image`` or ``images``, or a bare image.

    Raises:
        RequestError: a type that is not read (415), too many bytes or images (413), a form that is
            broken or has other fields (400), too slow (408), or memory is used up (503).
    """
    reader = _reader(request, limits)
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limits.max_bytes:
        raise _too_large(limits)
    try:
        with anyio.fail_after(limits.seconds):
            async for piece in request.stream():
                lease.take(len(piece))
                if lease.held > limits.max_bytes:
                    raise _too_large(limits)
                reader.write(piece)
    except TimeoutError as error:
        message = f"the request is not complete after {limits.seconds:g} seconds"
        raise RequestError(408, message) from error
    return reader.finish()


def _too_large(limits: UploadLimits) -> RequestError:
    return RequestError(413, f"the request has more than {limits.max_bytes / MEGA:g} MB")


def _reader(request: Request, limits: UploadLimits) -> _BareImage | _Form:
    """Return what reads a body of this content type."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise RequestError(415, f"content-encoding {shown(encoding)}; send images as they are")
    text = request.headers.get("content-type", "")
    kind, options = parse_options_header(text)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary:
            raise RequestError(400, "content-type multipart/form-data without a boundary")
        return _Form(boundary, limits)
    if kind.decode("latin-1").startswith(_BARE_TYPES):
        return _BareImage()
    raise RequestError(
        415, f"expected content-type multipart/form-data or image/…, found {shown(text)}"
    )


class _BareImage:
    """Body that is one image file."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, piece: bytes) -> None:
        self._data += piece

    def finish(self) -> list[Upload]:
        return [Upload("image", bytes(self._data))]


class _Form:
    """Body that is a form with images as its fields."""

    def __init__(self, boundary: bytes, limits: UploadLimits) -> None:
        self._limits = limits
        self._uploads: list[Upload] = []
        self._is_complete = False
        self._header = b""
        self._value = b""
        self._header_bytes = 0
        self._disposition = b""
        self._name = ""
        self._data = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_to_header,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end,
                    "on_end": self._complete,
                },
            )
        except FormParserError as error:
            raise _broken(error) from error

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _broken(error) from error

    def finish(self) -> list[Upload]:
        if not self._is_complete:
            raise RequestError(400, "the form is cut: its last boundary is missing")
        if not self._uploads:
            raise RequestError(400, "the form has no field 'image'")
        return self._uploads

    def _begin(self) -> None:
        if len(self._uploads) == self._limits.max_images:
            raise RequestError(413, f"the form has more than {self._limits.max_images} images")
        self._disposition, self._data, self._header_bytes = b"", bytearray(), 0

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += self._part_of_header(data, start, end)

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._part_of_header(data, start, end)

    def _part_of_header(self, data: bytes, start: int, end: int) -> bytes:
        self._header_bytes += end - start
        if self._header_bytes > MAX_PART_HEADER_BYTES:
            limit = MAX_PART_HEADER_BYTES
            raise RequestError(400, f"a field's header has more than {limit} bytes")
        return data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field not in FIELDS:
            hint = nearest(field, FIELDS) or "; expected 'image' or 'images'"
            raise RequestError(400, f"unknown field {shown(field)} of the form{hint}")
        given = options.get(b"filename", b"").decode("utf-8", "replace")
        file = PurePosixPath(given.replace("\\", "/")).name
        self._name = file or f"image {len(self._uploads) + 1}"

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end(self) -> None:
        self._uploads.append(Upload(self._name, bytes(self._data)))
        self._data = bytearray()

    def _complete(self) -> None:
        self._is_complete = True


def _broken(error: FormParserError) -> RequestError:
    return RequestError(400, f"the form is broken: {one_line(error)}")
