"""Files that appear whole or not at all, and the packaged ones."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detector.utils.errors import DetectorError, MissingFileError
from detector.utils.files import (
    TEMPORARY,
    atomic,
    exists,
    find_file,
    is_folder,
    leads_to_file,
    packaged_files,
    read_limited,
    read_text,
    write_text,
)

ROOT = Path(__file__).resolve().parents[2]


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


# ---------------------------------------------------------------------------- reading whole files


def fails(path: object, limit_bytes: int = 5) -> str:
    with pytest.raises(DetectorError) as caught:
        read_text(path, limit_bytes, "labels")  # type: ignore[arg-type]
    return str(caught.value)


def test_a_file_up_to_the_limit_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"")
    assert read_limited(file, 5, "labels") == b""
    file.write_bytes(b"\xef\xbb\xbfab")
    assert read_limited(file, 5, "labels") == b"\xef\xbb\xbfab"
    assert read_text(file, 5, "labels") == "ab"
    file.write_bytes(b"123456")
    assert fails(file) == f"{file}: has more than 5 bytes"
    file.write_bytes(b"\xe9t\xe9")
    assert fails(file) == f"{file}: is not UTF-8 text"


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with file.open("wb") as opened:
        opened.truncate(8 << 30)
    assert fails(file, 4 << 30) == f"{file}: has more than {4 << 30} bytes"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        assert fails(path) == f"{path}: is not a regular file, expected labels"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system has no /proc")
def test_a_file_that_states_no_size_has_the_limit() -> None:
    assert os.stat("/proc/self/maps").st_size == 0
    assert fails("/proc/self/maps") == "/proc/self/maps: has more than 5 bytes"
    assert len(read_limited("/proc/self/maps", 1 << 24, "text")) > 5


def test_a_missing_file_has_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none: cannot be read: No such file or directory$"):
        read_limited(tmp_path / "none", 5, "labels")


@pytest.mark.parametrize(("name", "quoted"), [("a\0b", "a\\x00b"), ("a\ud800b", "a\ud800b")])
def test_a_name_that_no_file_can_have(name: str, quoted: str) -> None:
    assert fails(name) == f"{quoted}: cannot be read: no file can have that name"


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


@pytest.mark.parametrize(
    ("name", "start", "suffix"),
    [
        ("a.png", ".a.", ".png"),
        ("a", ".a.", ""),
        ("画" * 81 + ".png", ".", ".png"),
        ("a." + "b" * 250, ".", ""),
    ],
    ids=["short", "no suffix", "long", "long suffix"],
)
def test_a_temporary_name_fits_where_the_name_does(tmp_path, name, start, suffix):
    with atomic(tmp_path / name) as temporary:
        temporary.write_text("new")
        assert len(os.fsencode(temporary.name)) <= 143
        assert temporary.name.startswith(start)
        assert temporary.name.endswith(f".{os.getpid()}.tmp{suffix}")
        assert [*tmp_path.glob(TEMPORARY)] == [temporary]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_long_names_of_one_beginning_have_temporaries_of_their_own(tmp_path):
    with atomic(tmp_path / ("a" * 200 + "1")) as one, atomic(tmp_path / ("a" * 200 + "2")) as other:
        assert one != other
        one.touch()
        other.touch()


def killed_while_writing(path: Path) -> str:
    """Return the name of the temporary file that a killed process leaves."""
    program = (
        "import os, signal, sys\n"
        "from detector.utils.files import atomic\n"
        "with atomic(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    print(temporary.name, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = [sys.executable, "-c", program, str(path)]
    process = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert process.returncode == -signal.SIGKILL
    return process.stdout.strip()


@pytest.mark.skipif(os.name != "posix", reason="processes are looked up by a signal")
@pytest.mark.parametrize("name", ["a.txt", "a", "[a]*.txt", "画" * 81 + ".png"])
def test_temporaries_of_killed_processes_are_removed_at_the_next_write(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_text("old")
    left = killed_while_writing(file)
    assert {path.name for path in tmp_path.iterdir()} == {name, left}
    assert file.read_text() == "old"
    kept = [
        left.replace(left.split(".")[-3 if file.suffix else -2], str(os.getppid())),  # it runs
        ".b.1.tmp.txt",  # of another file
        ".a.x.tmp.txt",
    ]
    for other in kept:
        (tmp_path / other).touch()
    write_text(file, "new")
    assert file.read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {name, *kept}


TOO_LONG = "x" * 256


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", (True, True, False)),
        ("file", (True, False, True)),
        ("missing", (False, False, False)),
        ("file/below", (False, False, False)),
        (TOO_LONG, (False, False, False)),
        ("/".join(["x" * 200] * 30), (False, False, False)),
        ("nu\0ll", (False, False, False)),
        ("half\ud800", (False, False, False)),
    ],
)
def test_a_path_from_a_file_exists_or_not(
    name: str, expected: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    assert (exists(path), is_folder(path), leads_to_file(path)) == expected


def test_a_path_that_nobody_may_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DetectorError) as caught:
        exists(tmp_path / "a")
    assert str(caught.value) == f"{tmp_path / 'a'}: cannot be read: Permission denied"


@pytest.mark.skipif(sys.platform != "linux", reason="devices and pipes of Linux")
class TestStreams:
    """What is no file is written into, never replaced."""

    def test_a_device(self) -> None:
        before = Path("/dev/null").stat()
        write_text("/dev/null", "x")
        after = Path("/dev/null").stat()
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)

    def test_a_link_to_a_device(self, tmp_path: Path) -> None:
        link = tmp_path / "link.json"
        link.symlink_to("/dev/null")
        write_text(link, "x")
        assert link.is_symlink()
        assert [path.name for path in tmp_path.iterdir()] == ["link.json"]

    def test_a_pipe(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with pytest.raises(DetectorError) as caught:
            write_text(pipe, "nobody reads")
        assert str(caught.value) == f"{pipe}: cannot be written: No such device or address"
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        write_text(pipe, "somebody reads")
        assert os.read(reader, 100) == b"somebody reads"
        os.close(reader)
        assert pipe.is_fifo()

    @pytest.mark.parametrize("kind", ["pipe", "file"])
    def test_standard_output(self, tmp_path: Path, kind: str) -> None:
        program = (
            "from detector.utils.files import write_text\n"
            "print('first', flush=True)\n"
            "write_text('/dev/stdout', 'second\\n')\n"
        )
        before = os.lstat("/dev/stdout")
        file = tmp_path / "out"
        with file.open("wb") as target:
            done = subprocess.run(
                [sys.executable, "-c", program],
                stdout=subprocess.PIPE if kind == "pipe" else target,
                check=True,
            )
        text = done.stdout if kind == "pipe" else file.read_bytes()
        assert text == b"first\nsecond\n"
        assert os.lstat("/dev/stdout").st_ino == before.st_ino

    def test_a_socket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s")
            with pytest.raises(
                DetectorError, match="^s: is not a regular file, a file is expected"
            ):
                write_text("s", "x")
            assert Path("s").is_socket()

    def test_nothing_is_written_after_an_error(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(ValueError, match="stopped"), _stopped_before_the_end(pipe):
            pass
        assert os.read(reader, 10) == b""
        os.close(reader)


@contextmanager
def _stopped_before_the_end(path: Path) -> Iterator[None]:
    with atomic(path) as temporary:
        temporary.write_text("half")
        yield
        raise ValueError("stopped")
