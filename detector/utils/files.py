"""Atomic writing and size-limited reading of files, and the YAML files shipped with the package."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from detector.utils.errors import DetectorError, MissingFileError, nearest, shown

TEMPORARY = ".*.tmp*"
"""Pattern of the temporary files and folders that are written; a killed process leaves them."""

_TEMPORARY = re.compile(r"(?P<start>\..*)\.(?P<process>\d{1,10})(?P<end>\.tmp(\..*)?)", re.DOTALL)

MAX_TEMPORARY_BYTES = 143
"""Maximum length of the name of a temporary file: the least limit of common file systems. Most
allow 255 bytes, so that the file itself may have a longer name."""

MAX_SUFFIX_BYTES = 20
"""Maximum length of a suffix that a temporary file shares with the file."""


MAX_NEAREST = 10_000
"""Largest number of a folder's entries among which the nearest name is looked for."""

YAML_SUFFIXES = (".yaml", ".yml")

WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".onnx", ".xml", ".pt2", ".pdparams")
"""Suffixes of files that hold a network, of this project and others."""

START_BYTES = 64
"""Number of bytes by which a file that stands in place of another is recognized."""
STAND_INS = {
    b"version https://git-lfs": "a pointer of Git LFS (`git lfs pull` fetches the file itself)",
    b"<!doctype html": "a web page (the download did not give the file itself)",
    b"<html": "a web page (the download did not give the file itself)",
}
"""Beginnings of files, in lower case, that people have in place of what they meant to download."""


@contextmanager
def atomic(
    path: str | Path, previous: Path | None = None, *, synced: bool = True
) -> Iterator[Path]:
    """Yield a temporary path, and rename it to ``path`` if the ``with`` block succeeds.

    Args:
        path: the file to write; missing folders are created.
        previous: where the file that is replaced is kept; None discards it.
        synced: call ``fsync`` before the rename, so that the file survives a power failure. This is
            slow, and unnecessary for files that can be generated again.

    A device, a pipe or a standard stream (``/dev/stdout``) is no file to be replaced: the content
    is written into it.

    Raises:
        DetectorError: the disk is full or the folder is not writable; ``path`` is not changed.
    """
    path = Path(path)
    if _is_stream(path):
        with _written_into(path) as temporary:
            yield temporary
        return
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(path)
        yield temporary
        if synced:
            sync(temporary)
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
        if synced:
            sync(path.parent)
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror or error}", file=path) from error
    finally:
        remove(temporary)


def _is_stream(path: Path) -> bool:
    """Return whether content is written into what is there, which a rename would replace.

    Raises:
        DetectorError: it is a disk or a socket, into which no file is written.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise DetectorError("is not a regular file, a file is expected to be written", file=path)
    folder = os.path.realpath(path.parent)
    standard = path.is_symlink() and re.fullmatch(r"/dev|/dev/fd|/proc/\d+/fd", folder)
    return bool(stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or standard)


@contextmanager
def _written_into(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and write its content into ``path`` if the block succeeds."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"content{path.suffix}"
        yield temporary
        try:
            # Without O_NONBLOCK a pipe that nobody reads would hang.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
            os.set_blocking(descriptor, True)
            with open(descriptor, "wb") as target, temporary.open("rb") as content:
                shutil.copyfileobj(content, target)
        except OSError as error:
            message = f"cannot be written: {error.strerror or error}"
            raise DetectorError(message, file=path) from error


def remove(temporary: Path) -> None:
    """Remove a temporary file or folder, unless it was renamed, never written or removed before."""
    with suppress(OSError):
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary)
        else:
            temporary.unlink()


def remove_orphans(path: Path) -> None:
    """Remove the temporary files of this file whose processes have ended, killed as they wrote."""
    found = _leftovers(path.parent.absolute())
    for leftover in found.pop(_without_process(temporary_path(path).name), ()):
        remove(leftover)


def remove_orphans_in(folder: Path) -> None:
    """Remove the temporary files of all ended processes from a folder, if it exists."""
    if folder.is_dir():
        for leftovers in _leftovers(folder.absolute()).values():
            for leftover in leftovers:
                remove(leftover)


@lru_cache(maxsize=4096)
def _leftovers(folder: Path) -> dict[str, list[Path]]:
    """Return the temporary files of ended processes in a folder, listed once, by their file."""
    found: dict[str, list[Path]] = {}
    for name in os.listdir(folder):
        match = _TEMPORARY.fullmatch(name)
        if match is not None and not _is_running(int(match["process"])):
            found.setdefault(_without_process(name), []).append(folder / name)
    return found


def _without_process(name: str) -> str:
    """Return the name of a temporary file without the number of its process."""
    return _TEMPORARY.sub(r"\g<start>\g<end>", name)


def _is_running(process: int) -> bool:
    """Return whether a process runs on this machine; where that cannot be told, True."""
    if os.name != "posix":  # elsewhere a signal of 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or no number of a process
        return True
    return True


def temporary_path(path: Path) -> Path:
    """Return a temporary path beside a file, with its suffix; a long name becomes a digest."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= MAX_SUFFIX_BYTES else ""
    name = f".{path.stem}.{os.getpid()}.tmp{suffix}"
    if len(os.fsencode(name)) > MAX_TEMPORARY_BYTES:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        name = f".{digest}.{os.getpid()}.tmp{suffix}"
    return path.with_name(name)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk; Windows cannot do the latter."""
    if os.name != "posix" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder that no other process writes to."""
    for leftover in folder.glob(TEMPORARY):
        remove(leftover)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_limited(path: str | Path, limit_bytes: int, expected: str) -> bytes:
    """Read a regular file; devices and pipes are refused, since they may block or never end.

    Args:
        path: the file.
        limit_bytes: largest size that is read.
        expected: what the file should be, e.g. ``"an image"``.

    Raises:
        MissingFileError: the file does not exist.
        DetectorError: it is not a regular file, too large, not readable, or its name is invalid.
    """
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise IsADirectoryError
            if status.st_size > limit_bytes:
                raise DetectorError(f"has more than {limit_bytes} bytes", file=path)
            data = file.read(status.st_size + 1)
            if len(data) > status.st_size:  # the file grows, or reports no size, as in /proc
                data += file.read(limit_bytes - status.st_size)
    except FileNotFoundError as error:
        raise MissingFileError(f"cannot be read: {error.strerror}", file=path) from error
    except IsADirectoryError as error:  # open itself raises it for a folder
        raise DetectorError(f"is not a regular file, expected {expected}", file=path) from error
    except OSError as error:
        refuse_special(Path(path), expected)  # a socket cannot even be opened
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error
    except ValueError as error:  # a null character, or half of a surrogate pair
        raise DetectorError("cannot be read: no file can have that name", file=path) from error
    if len(data) > limit_bytes:
        raise DetectorError(f"has more than {limit_bytes} bytes", file=path)
    return data


def read_text(path: str | Path, limit_bytes: int, expected: str) -> str:
    """Read a regular UTF-8 text file, without its byte-order mark.

    Args:
        path: the file.
        limit_bytes: largest size that is read.
        expected: what the file should be, e.g. ``"a YAML file"``.

    Raises:
        MissingFileError: the file does not exist.
        DetectorError: it is not a regular file, too large, not readable, or not UTF-8.
    """
    try:
        return read_limited(path, limit_bytes, expected).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DetectorError("is not UTF-8 text", file=path) from error


def read_start(path: Path, limit_bytes: int) -> str:
    """Return the beginning of a regular file as text, by which its kind is recognized.

    What is not UTF-8 is replaced.

    Args:
        path: the file; "" is returned for one that cannot be read.
        limit_bytes: length of the beginning.
    """
    try:
        if not path.is_file():  # such as a pipe, which may block
            return ""
        with path.open("rb") as file:
            return file.read(limit_bytes).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):
        return ""


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a pipe, so that a pipe can be refused."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def utf8_path(path: Path) -> Iterator[str]:
    """Yield a path for libraries that take only UTF-8: the path itself, or a link to the file.

    The file need not exist. The link lies in a temporary folder, which is removed at the end.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        suffix = path.suffix if path.suffix.isascii() else ""
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"file{suffix}")
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)


def as_path(value: str | Path, name: str) -> Path:
    """Return the value of an argument called ``name`` as a Path.

    Raises:
        DetectorError: it is neither a string nor a Path.
    """
    if not isinstance(value, (str, Path)):
        raise DetectorError(f"{name}: expected a path, found {shown(value)}")
    return Path(value)


def exists(path: Path) -> bool:
    """Return whether a path that was read from a file leads to a file or folder.

    No file has a name that is too long or has a null character.

    Raises:
        DetectorError: nobody can know, such as in a folder that may not be read.
    """
    return _exists(path, Path.exists)


def is_folder(path: Path) -> bool:
    """Return whether a path that was read from a file leads to a folder; see :func:`exists`."""
    return _exists(path, Path.is_dir)


def leads_to_file(path: Path) -> bool:
    """Return whether a path that was read from a file leads to a file; see :func:`exists`."""
    return _exists(path, Path.is_file)


def _exists(path: Path, question: Callable[[Path], bool]) -> bool:
    try:
        return question(path)
    except ValueError:  # a null character, or half of a surrogate pair
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error


def is_file(path: Path) -> bool:
    """Return whether a file that the user names exists; see also :func:`leads_to_file`.

    Raises:
        DetectorError: its name is too long or its folder may not be read, so that nobody can know.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error
    except ValueError:  # a null character, or half of a surrogate pair
        return False


def refuse_special(path: Path, expected: str) -> None:
    """Raise DetectorError for a pipe, a socket or a device: opening one may block for ever.

    Args:
        path: the file; a missing one, or a folder, is accepted here.
        expected: what the file should be, e.g. ``"weights"``.
    """
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DetectorError(f"is not a regular file, expected {expected}", file=path)


def check_start(path: Path, expected: str) -> None:
    """Raise DetectorError for a file that stands in place of another: a pointer or a web page.

    Args:
        path: the file; one that cannot be read is accepted here.
        expected: what the file should be, e.g. ``"weights"``.
    """
    with suppress(OSError), path.open("rb") as file:
        start = file.read(START_BYTES).lstrip().lower()
        for beginning, found in STAND_INS.items():
            if start.startswith(beginning):
                raise DetectorError(f"is {found}, expected {expected}", file=path)


def find_file(
    path: str | Path,
    folder: Literal["cfg", "datasets"],
    beside: Path | None = None,
    words: Sequence[str] = (),
) -> Path:
    """Resolve ``cfg/x.yaml``, ``x.yaml`` or ``x`` to an existing file, else to a packaged file.

    Args:
        path: name or path.
        folder: folder of packaged files to search.
        beside: folder that a relative path starts from; default: the working directory.
        words: names that come first in the error's hint, whether they stand for a file or not.

    Raises:
        DetectorError: there is no such file; names the nearest word or packaged one, or the
            nearest folder or YAML file beside it.
    """
    path = as_path(path, folder)
    given = path if beside is None else beside / path
    refuse_special(given, "a YAML file")
    with suppress(OSError):  # the name is too long for a file
        if given.is_file():
            return given
    packaged = packaged_files(folder)
    relative = path.relative_to(folder) if path.parts[:1] == (folder,) else path
    name = relative.with_suffix("").as_posix() if relative.name else ""
    found = packaged.get(name)
    if found is None:
        hint = (
            nearest(name, words)
            or nearest(name, packaged)
            or nearest(path.name, _names_in(given.parent))
        )
        raise DetectorError(f"no such file{hint}", file=path)
    return found


def missing_weights(path: Path) -> DetectorError:
    """Return the error about a weights file that is not there; it names the nearest one beside it.

    >>> str(missing_weights(Path("no/such/best.safetensors")))
    'no/such/best.safetensors: no such file; expected weights'
    """
    names: list[str] = []
    with suppress(OSError), os.scandir(path.parent) as entries:
        names = [entry.name for entry in islice(entries, MAX_NEAREST) if entry.name != path.name]
    files = [name for name in names if Path(name).suffix.lower() in WEIGHTS_SUFFIXES]
    hint = nearest(path.name, files) or "; expected weights"
    return DetectorError(f"no such file{hint}", file=path)


def _names_in(folder: Path) -> list[str]:
    """Return the names of the folders and YAML files in a folder; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            some = islice(entries, MAX_NEAREST)
            return [one.name for one in some if one.is_dir() or one.name.endswith(YAML_SUFFIXES)]
    except (OSError, ValueError):
        return []


def packaged_files(folder: Literal["cfg", "datasets"]) -> dict[str, Path]:
    """Return the YAML files of a packaged folder by name without suffix.

    The folder is inside the package in an installed wheel, and beside it in a checkout.
    """
    package = Path(__file__).parents[1]
    root = next(
        (place for place in (package / folder, package.parent / folder) if place.is_dir()), None
    )
    if root is None:
        return {}
    return {
        file.relative_to(root).with_suffix("").as_posix(): file
        for file in sorted(root.rglob("*.yaml"))
    }
