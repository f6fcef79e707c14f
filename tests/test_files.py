"""Files that appear whole or not at all, and the packaged ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detector.errors import DetectorError
from detector.files import atomic, find_file, packaged_files, write_text

ROOT = Path(__file__).resolve().parent.parent


def test_write_text_replaces_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "a.txt"
    write_text(file, "one")
    write_text(file, "zwölf")
    assert file.read_text(encoding="utf-8") == "zwölf"
    assert list(file.parent.iterdir()) == [file]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write() -> None:
        with atomic(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_temporary_file_has_the_suffix_and_the_folder(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.onnx") as temporary:
        assert temporary.suffix == ".onnx"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")


def test_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(DetectorError) as caught:
        write_text(tmp_path / "a" / "b.txt", "text")
    assert str(caught.value) == f"{tmp_path / 'a' / 'b.txt'}: cannot be written: File exists"


def test_failed_replacement_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DetectorError, match=r"a\.txt: cannot be written: No space left on device$"):
        write_text(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cfg/yolov5n.yaml", "yolov5n.yaml", "yolov5n"])
def test_packaged_file_by_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(name, "cfg") == ROOT / "cfg" / "yolov5n.yaml"


def test_own_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("yolov5n.yaml").write_text("nc: 1")
    assert find_file("yolov5n.yaml", "cfg") == Path("yolov5n.yaml")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo5n.yaml", "yolo5n.yaml: no such file; did you mean 'yolov5n'?"),
        ("cfg/yolov5_repvg.yaml", "cfg/yolov5_repvg.yaml: no such file; did you mean "
         "'yolov5_repvgg'?"),
        ("nowhere/at/all.yaml", "nowhere/at/all.yaml: no such file"),
        ("x" * 5000, "x" * 5000 + ": no such file"),
    ],
)  # fmt: skip
def test_missing_file(name: str, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        find_file(name, "cfg")
    assert str(caught.value) == message


def test_packaged_files_are_named_without_suffix() -> None:
    files = packaged_files("cfg")
    assert {"yolov5n", "yolov5_repvgg", "yolov5_vovnet39"} <= set(files)
    assert all(file.is_file() for file in files.values())
