"""Images within tars and Parquet files; damaged ones end with an error, not in silence.

Tests marked heavy need ``pip install pyarrow``.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.runtime import packed
from detector.runtime.packed import packed_images
from detector.utils.errors import DetectorError

BLOCK = tarfile.BLOCKSIZE


def member(name: str, content: bytes = b"pixels", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, "0.jpg"
    return info


def write_tar(path: Path, *names: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            content = name.encode() if kind == tarfile.REGTYPE else b""
            tar.addfile(member(name, content, kind), io.BytesIO(content))
    return path


def texts(path: Path, **columns: str) -> list[tuple[str, str]]:
    return [
        (name, str(image) if isinstance(image, DetectorError) else image.decode())
        for name, image in packed_images(path, **columns)
    ]


def test_images_of_a_tar_in_its_order(tmp_path: Path):
    tar = write_tar(tmp_path / "a.tar", "b/1.jpg", "b/1.json", "a.PNG", "b/1.jpg", "1.cls")
    assert texts(tar) == [("b/1.jpg", "b/1.jpg"), ("a.PNG", "a.PNG"), ("b/1.jpg_2", "b/1.jpg")]


def test_no_image(tmp_path: Path):
    assert texts(write_tar(tmp_path / "a.tar")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_named(kind: bytes, tmp_path: Path):
    tar = write_tar(tmp_path / "a.tar", "0.jpg", kind=kind)
    message = f"{tar}/0.jpg: is a link or a device in the tar, expected a file"
    assert texts(tar) == [("0.jpg", message)]


def cut_content(data: bytes) -> bytes:
    return data[: 3 * BLOCK + 2]


def cut_header(data: bytes) -> bytes:
    return data[: 2 * BLOCK + 100]


def cut_between(data: bytes) -> bytes:
    return data[: 2 * BLOCK]


def damaged_header(data: bytes) -> bytes:
    return data[: 2 * BLOCK] + b"?" * BLOCK + data[3 * BLOCK :]


def negative_size(data: bytes) -> bytes:
    """The second member's content ends before it begins: it would be read again and again."""
    header = bytearray(data[2 * BLOCK : 3 * BLOCK])
    header[124:136] = b"\xff" * 4 + (-BLOCK).to_bytes(8, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[: 2 * BLOCK] + bytes(header) + data[3 * BLOCK :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_content, "unexpected end of data"),
        (cut_header, f"no header at byte {2 * BLOCK}, expected a member or the end mark"),
        (cut_between, f"nothing at byte {2 * BLOCK}, expected a member or the end mark"),
        (damaged_header, f"no header at byte {2 * BLOCK}, expected a member or the end mark"),
        (negative_size, f"the member at byte {2 * BLOCK} has a wrong size"),
    ],
)
def test_a_damaged_tar(damage: Callable[[bytes], bytes], message: str, tmp_path: Path):
    """What lies before the damage is read: 0.jpg is a header and a block of content."""
    tar = write_tar(tmp_path / "a.tar", "0.jpg", "1.jpg")
    tar.write_bytes(damage(tar.read_bytes()))
    assert texts(tar) == [("0.jpg", "0.jpg"), ("", f"{tar}: is not a whole tar: {message}")]


def test_no_tar(tmp_path: Path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"no tar" * 200)
    assert texts(path) == [("", f"{path}: is not a whole tar: invalid header")]
    path.write_bytes(b"")
    assert texts(path) == [("", f"{path}: is not a whole tar: empty file")]
    assert texts(tmp_path / "b.tar") == [
        ("", f"{tmp_path}/b.tar: cannot be read: No such file or directory")
    ]
    os.mkfifo(tmp_path / "c.tar")
    ((name, message),) = texts(tmp_path / "c.tar")
    assert name == "" and "is not a regular file" in message


def test_a_compressed_tar_is_not_unpacked(tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member("0.jpg"), io.BytesIO(b"pixels"))
    ((name, message),) = texts(path)
    assert name == "" and "is not a whole tar" in message


def test_members_and_headers_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tar = write_tar(tmp_path / "a.tar", "0.jpg", "longer.jpg")
    monkeypatch.setattr(packed, "MAX_IMAGE_BYTES", 5)
    with pytest.raises(tarfile.ReadError, match="a part of 6 bytes, at most 5 are read"):
        packed._LimitedReader(io.FileIO(tar)).read(6)
    monkeypatch.setattr(packed, "MAX_IMAGE_BYTES", BLOCK)
    big = tmp_path / "b.tar"
    with tarfile.open(big, "w") as opened:
        opened.addfile(member("0.jpg", bytes(BLOCK + 1)), io.BytesIO(bytes(BLOCK + 1)))
        opened.addfile(member("1.jpg"), io.BytesIO(b"pixels"))
    message = f"{big}/0.jpg: {BLOCK + 1} bytes, at most {BLOCK} are read"
    assert texts(big) == [("0.jpg", message), ("1.jpg", "pixels")]


# ------------------------------------------------------------------------------- Parquet


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def write(**columns: object) -> Path:
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    return write


@pytest.mark.heavy
def test_images_of_a_parquet_file(write_parquet: Callable[..., Path]):
    path = write_parquet(bytes=[b"a", None, b"c"], key=["x.jpg", "y.jpg", "x.jpg"])
    none = f"{path}/y.jpg: the row has no bytes"
    named = [("x.jpg", "a"), ("y.jpg", none), ("x.jpg_2", "c")]
    assert texts(path, name_column="key") == named
    assert [name for name, _ in texts(path)] == ["0", "1", "2"]


@pytest.mark.heavy
def test_images_of_hugging_face(write_parquet: Callable[..., Path]):
    path = write_parquet(image=[{"bytes": b"a", "path": "x.jpg"}])
    assert texts(path, image_column="image") == [("0", "a")]


@pytest.mark.heavy
def test_wrong_columns(write_parquet: Callable[..., Path]):
    path = write_parquet(byte=[b"a"], number=[1])
    assert texts(path) == [("", f"{path}: has no column 'bytes'; did you mean 'byte'?")]
    assert texts(path, image_column="number") == [
        ("", f"{path}: column 'number' is int64, expected binary")
    ]
    path.write_bytes(path.read_bytes()[:-10])
    ((name, message),) = texts(path)
    assert name == "" and message.startswith(f"{path}: is not a whole Parquet file: ")
