"""Images that an earlier start has decoded: which are trusted, and what is not."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from detector.data import check, known_sizes
from detector.data.check import check_images
from detector.data.formats.rows import AnnotatedImage, Labels
from detector.data.known_sizes import FILE_NAME, KnownSizes, file_state
from detector.utils.opencv import write_image

OLD = 1_700_000_000


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a test are new and few; this makes them old enough to be trusted, and enough."""
    monkeypatch.setattr(known_sizes, "SETTLED_NS", 0)
    monkeypatch.setattr(check, "MIN_KNOWN", 1)


@pytest.fixture
def images(tmp_path: Path) -> list[AnnotatedImage]:
    found = []
    for number in range(3):
        path = tmp_path / "images" / f"{number}.png"
        write_image(path, np.zeros((20 + number, 30, 3), np.uint8))
        found.append(AnnotatedImage(path, number, lambda size_hw: Labels(Path("labels"))))
    return found


def decoded(
    images: list[AnnotatedImage], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Return the names of the images that a start decodes; sizes are always the right ones."""
    names: list[str] = []
    original = check.read_image

    def read_image(path: Path) -> np.ndarray:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(check, "read_image", read_image)
    known = KnownSizes(folder)
    found = check_images(images, known=known)
    monkeypatch.setattr(check, "read_image", original)
    for sample in found.samples:
        assert sample.size_hw == original(sample.path).shape[:2]
    expected = len(images) - len(names)
    line = "images not decoded again, since they have not changed since an earlier start: "
    assert known.lines() == ([f"{line}{expected}"] if expected else [])
    return sorted(names)


def test_a_second_start_decodes_what_has_changed(images, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    assert decoded(images, folder, monkeypatch) == ["0.png", "1.png", "2.png"]
    assert decoded(images, folder, monkeypatch) == []
    write_image(images[1].path, np.zeros((50, 60, 3), np.uint8))
    assert decoded(images, folder, monkeypatch) == ["1.png"]
    content = images[2].path.read_bytes()
    status = images[2].path.stat()
    images[2].path.write_bytes(content)  # of the same length, with its old time of change set back
    os.utime(images[2].path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert decoded(images, folder, monkeypatch) == ["2.png"]
    assert decoded(images, folder, monkeypatch) == []


def test_broken_images_are_found_at_each_start(images, tmp_path):
    images[0].path.write_bytes(b"none")
    for _ in range(2):
        found = check_images(images, known=KnownSizes(tmp_path / "cache"))
        assert [issue.file for issue in found.issues] == [images[0].path]


def test_files_that_changed_just_now_are_not_trusted(images, tmp_path, monkeypatch):
    monkeypatch.setattr(known_sizes, "SETTLED_NS", 60_000_000_000)
    for _ in range(2):
        assert len(decoded(images, tmp_path / "cache", monkeypatch)) == 3
    assert not (tmp_path / "cache").exists()


def test_another_version_decodes_again(images, tmp_path, monkeypatch):
    decoded(images, tmp_path, monkeypatch)
    monkeypatch.setattr(known_sizes, "_VERSION", "0.0, OpenCV 3")
    assert len(decoded(images, tmp_path, monkeypatch)) == 3
    assert decoded(images, tmp_path, monkeypatch) == []


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_broken_file(images, tmp_path, monkeypatch, caplog, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    assert len(decoded(images, tmp_path, monkeypatch)) == 3
    assert caplog.text.count("images are decoded again") == 1
    assert decoded(images, tmp_path, monkeypatch) == []


def test_values_that_are_no_sizes(images, tmp_path, monkeypatch, caplog):
    decoded(images, tmp_path, monkeypatch)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE images SET height = 'tall'")
    assert len(decoded(images, tmp_path, monkeypatch)) == 3
    assert "cannot be read (invalid literal for int" in caplog.text


def test_a_folder_that_cannot_be_written(images, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    assert len(decoded(images, tmp_path / "file", monkeypatch)) == 3
    assert "cannot be written" in caplog.text


def test_few_images_are_decoded_each_time(images, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "MIN_KNOWN", len(images) + 1)
    for _ in range(2):
        assert len(decoded(images, tmp_path / "cache", monkeypatch)) == 3
    assert not (tmp_path / "cache").exists()


def test_names_that_are_no_text(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    path.write_bytes(b"1")
    known = KnownSizes(tmp_path)
    time.sleep(0.01)
    known.add(path, file_state(path), (3, 4))
    known.save()
    assert KnownSizes(tmp_path).get(path) == (3, 4)
