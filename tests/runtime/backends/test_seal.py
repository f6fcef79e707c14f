"""Seals: every byte counts."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.backends.seal import UNSEALED, read_sealed, seal
from detector.utils.errors import DetectorError

CHANGED = "damaged or changed: its seal does not match its content"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A sealed file and one beside it."""
    path, beside = tmp_path / "a.xml", tmp_path / "a.bin"
    path.write_text(f"before {UNSEALED} after")
    beside.write_bytes(b"weights")
    seal(path, beside)
    return path, beside


def test_the_digest(pair: tuple[Path, Path]):
    path, _ = pair
    digest = hashlib.sha256(f"before {UNSEALED} after".encode() + b"weights").hexdigest()
    assert path.read_text() == f"before repdet-sha256:{digest} after"
    assert read_sealed(*pair) == [path.read_bytes(), b"weights"]
    with pytest.raises(DetectorError) as caught:
        read_sealed(*pair, limit_bytes=90)  # 14 + 64 + 13 bytes
    assert str(caught.value) == f"{path}: has more than 90 bytes"


def test_a_file_without_a_seal(tmp_path: Path):
    path = tmp_path / "a"
    for content in (b"", b"text", b"\0" * 1000):
        path.write_bytes(content)
        with pytest.raises(DetectorError, match="^.*: no seal: not a file that tools/export.py"):
            read_sealed(path)


def test_a_name_that_looks_like_a_seal(tmp_path: Path):
    path = tmp_path / "a"
    path.write_text(f"class {UNSEALED}, {UNSEALED}")
    with pytest.raises(DetectorError) as caught:
        seal(path)
    assert str(caught.value) == f"{path}: a file to be sealed must hold {UNSEALED!r} once"


def test_every_byte_counts(pair: tuple[Path, Path], rng: np.random.Generator):
    """A change of the mark itself takes the seal away, any other one makes it wrong."""
    for path in pair:
        whole = path.read_bytes()
        mark = whole.find(b"repdet-sha256:")
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= 1 << rng.integers(8)
            path.write_bytes(changed)
            in_mark = 0 <= mark <= place < mark + len("repdet-sha256:")
            with pytest.raises(DetectorError, match="no seal: " if in_mark else CHANGED):
                read_sealed(*pair)
        path.write_bytes(whole)


@pytest.mark.parametrize("cut", [1, 10, 70])
def test_a_cut_file(pair: tuple[Path, Path], cut: int):
    path, beside = pair
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DetectorError, match=CHANGED):
        read_sealed(path, beside)
