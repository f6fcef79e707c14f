"""Arrays of ``.npz`` files: read a part at a time, and refused in one line."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detector.evaluation.npz import stored_arrays
from detector.utils.errors import DetectorError

PLAIN = "not an .npz file of plain arrays"


def fails(path: Path) -> str:
    with pytest.raises(DetectorError) as caught, stored_arrays(path):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_parts_in_turns(tmp_path: Path):
    path = tmp_path / "a.npz"
    a, b = np.arange(12, dtype=np.float32).reshape(3, 2, 2), np.arange(3)
    np.savez(path, a=a, b=b, none=np.zeros((3, 0)))
    with stored_arrays(path) as arrays:
        assert {name: one.shape for name, one in arrays.items()} == {
            "a": (3, 2, 2), "b": (3,), "none": (3, 0)
        }  # fmt: skip
        for index in range(3):
            assert np.array_equal(arrays["a"].read((2, 2)), a[index])
            assert arrays["b"].read(()) == index
            assert arrays["none"].read((1, 0)).shape == (1, 0)


def test_damage_is_found_where_it_lies(tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(1000))
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with stored_arrays(path) as arrays, pytest.raises(DetectorError, match=PLAIN):
        arrays["a"].read((1000,))


def member(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", content)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK no archive",
        member(b""),
        member(b"\x93NUMPY\x07\x00"),
        member(header("{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000,)}")),
        member(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}")),
        member(header("{'descr': '<f4', ")),
        member(header("(" * 9000)),
        member(header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"12345678"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    assert fails(path) == PLAIN


def test_other_forms(tmp_path: Path):
    path = tmp_path / "a.npz"
    assert fails(path) == "cannot be read: No such file or directory"
    np.savez_compressed(path, a=np.zeros(10_000))
    assert fails(path) == "'a' is compressed; write it with numpy.savez"
    np.savez(path, a=np.zeros((3, 4)).T)
    assert fails(path) == "'a' is stored by columns; write numpy.ascontiguousarray of it"
    np.savez(path, a=np.zeros(3))
    content = bytearray(path.read_bytes())
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(sign) + place] |= 1  # encrypted
    path.write_bytes(content)
    assert fails(path) == PLAIN


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_block(tmp_path):
    path = tmp_path / "a.npz"
    os.mkfifo(path)
    with pytest.raises(DetectorError) as caught, stored_arrays(path):
        pass
    assert str(caught.value) == f"{path}: is not a regular file, expected an .npz file"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "cannot be read: Is a directory"),
        ("none.npz", "cannot be read: No such file or directory"),
        ("x" * 300, "cannot be read: File name too long"),
        ("nu\0ll", PLAIN),
    ],
)
def test_a_path_that_leads_to_no_file(tmp_path, name, message):
    with pytest.raises(DetectorError) as caught, stored_arrays(tmp_path / name):
        pass
    assert caught.value.message == message
