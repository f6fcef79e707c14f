"""Files that appear whole or not at all, and the YAML files that travel with the package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from detector.errors import DetectorError, nearest

TEMPORARY = ".*.tmp*"
"""Pattern of what :func:`atomic` writes beside a file; a killed process leaves it behind."""


@contextmanager
def atomic(
    path: str | Path, previous: Path | None = None, *, synced: bool = True
) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place if the block succeeds.

    Args:
        path: the file.
        previous: where the file that it replaces is kept.
        synced: be on the disk before it takes the place; for what can be made anew that is slow.

    Raises:
        DetectorError: the disk is full or the folder cannot be written; ``path`` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if synced:
            _sync(temporary)
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
        if synced and os.name == "posix":  # the new names, too, where a system can be asked to
            _sync(path.parent)
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror or error}", file=path) from error
    finally:
        with suppress(OSError):  # it is not there, or its folder is none
            temporary.unlink()


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left in a folder that nobody else writes to."""
    for leftover in folder.glob(TEMPORARY):
        leftover.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def find_file(
    path: str | Path, folder: Literal["cfg", "datasets"], beside: Path | None = None
) -> Path:
    """Resolve ``cfg/x.yaml``, ``x.yaml`` or ``x``: as given, else the packaged file.

    Args:
        path: name or path.
        folder: of the packaged files.
        beside: the folder where a relative path starts; default: the working one.

    Raises:
        DetectorError: there is no such file; names the nearest packaged one.
    """
    path = Path(path)
    given = path if beside is None else beside / path
    with suppress(OSError):  # a name too long to be one
        if given.is_file():
            return given
    packaged = packaged_files(folder)
    relative = path.relative_to(folder) if path.parts[:1] == (folder,) else path
    name = relative.with_suffix("").as_posix() if relative.name else ""
    found = packaged.get(name)
    if found is None:
        hint = nearest(name, packaged)
        raise DetectorError(f"no such file{hint}", file=path)
    return found


def packaged_files(folder: Literal["cfg", "datasets"]) -> dict[str, Path]:
    """Names without suffix → files of the wheel's, or of the checkout's, ``folder``."""
    package = Path(__file__).parent
    root = next(
        (place for place in (package / folder, package.parent / folder) if place.is_dir()), None
    )
    if root is None:
        return {}
    return {
        file.relative_to(root).with_suffix("").as_posix(): file
        for file in sorted(root.rglob("*.yaml"))
    }
