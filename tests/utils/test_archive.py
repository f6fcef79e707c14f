"""Zip archives of PyTorch: what is read, and what is refused in one line."""

import io
import zipfile
from pathlib import Path

import pytest
import torch

from detector.utils.archive import Archive
from detector.utils.errors import DetectorError


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_reads_what_torch_writes(tmp_path: Path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(3)}, path)
    with Archive(path) as archive:
        archive.check()
        assert "data.pkl" in archive.names
        assert archive.read("data/0") == torch.ones(3).numpy().tobytes()
        assert archive.size("data/0") == 12  # 3 numbers of 4 bytes


def test_reads_a_stream():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("folder/a/b", b"x")
    with Archive("name", stream) as archive:
        assert archive.names == ("a/b",)


def test_a_missing_file_and_a_missing_member(tmp_path: Path):
    with pytest.raises(DetectorError, match=r"a\.pt: no such file$"):
        Archive(tmp_path / "a.pt")
    with (
        Archive(write_zip(tmp_path / "a.zip", {"f/a": b"x"})) as archive,
        pytest.raises(DetectorError, match=r"a\.zip: has no 'b'$"),
    ):
        archive.read("b")


def test_a_member_above_the_limit(tmp_path: Path):
    with (
        Archive(write_zip(tmp_path / "a.zip", {"f/a": b"x" * 11})) as archive,
        pytest.raises(DetectorError, match=r"'a' has 11 bytes, at most 10 are read$"),
    ):
        archive.read("a", 10)


def test_a_compressed_member_could_unpack_to_any_size(tmp_path: Path):
    bomb = write_zip(tmp_path / "a.zip", {"f/a": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2000
    with pytest.raises(DetectorError, match="not an archive of PyTorch: 'f/a' is compressed$"):
        Archive(bomb)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice(tmp_path: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("f/a", b"1")
        archive.writestr("f/a", b"2")
    with pytest.raises(DetectorError, match="'f/a' appears twice$"):
        Archive(path)


def test_members_that_overlap(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"f/a": b"x" * 100, "f/b": b"y" * 100})
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")  # its entry in the central directory
    data[second + 42 : second + 46] = (10).to_bytes(4, "little")  # where it claims to begin
    path.write_bytes(data)
    with pytest.raises(DetectorError, match="overlaps another member$"):
        Archive(path)


def test_members_in_several_folders(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"f/a": b"1", "g/b": b"2"})
    with pytest.raises(DetectorError, match="its members lie in several folders$"):
        Archive(path)


def test_a_flipped_bit(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"f/a": b"x" * 100})
    data = bytearray(path.read_bytes())
    data[80] ^= 1
    path.write_bytes(data)
    with (
        Archive(path) as archive,
        pytest.raises(DetectorError, match="^.*damaged or not an archive of PyTorch: Bad CRC-32"),
    ):
        archive.check()


@pytest.mark.parametrize("keep", [0, 1, 50, -30])
def test_a_truncated_file(tmp_path: Path, keep: int):
    path = write_zip(tmp_path / "a.zip", {"f/a": b"x" * 100})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DetectorError, match="damaged or not an archive of PyTorch") as caught:
        Archive(path)
    assert "\n" not in str(caught.value)
