"""Pairing of images with label files: by the same path, else by the same name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Match:
    """Candidate files for a path.

    Attributes:
        files: candidates; more than one if several have the same name.
        rivals: other paths for which those files are candidates too.
    """

    files: tuple[Path, ...] = ()
    rivals: tuple[str, ...] = ()

    @property
    def is_ambiguous(self) -> bool:
        """True if there are candidates but the choice would be a guess."""
        return len(self.files) > 1 or bool(self.files and self.rivals)

    @property
    def file(self) -> Path | None:
        """The only candidate, or None if there is none or the choice is ambiguous."""
        return self.files[0] if self.files and not self.is_ambiguous else None


class Pairing:
    """Lookup of files by paths without suffix, such as ``camera1/0007``.

    A path matches the file of the same relative path. Paths and files that are left over match by
    name alone, ``0007``, in whichever folder the file is.

    Args:
        folder: folder that the files' paths are relative to.
        files: files below it, sorted; of files that differ only in suffix, the first counts.
        wanted: all paths that will be looked up.
    """

    def __init__(self, folder: Path, files: Iterable[Path], wanted: Iterable[str]) -> None:
        self._by_path: dict[str, Path] = {}
        for file in files:
            self._by_path.setdefault(path_below(folder, file), file)
        requested = dict.fromkeys(wanted)
        self._files: dict[str, list[Path]] = {}
        for path, file in self._by_path.items():
            if path not in requested:
                self._files.setdefault(_name(path), []).append(file)
        self._paths: dict[str, list[str]] = {}
        for path in requested:
            if path not in self._by_path:
                self._paths.setdefault(_name(path), []).append(path)

    def find(self, path: str) -> Match:
        """Return the candidate files for one of the wanted paths."""
        if path in self._by_path:
            return Match((self._by_path[path],))
        files = self._files.get(_name(path), [])
        rivals = [other for other in self._paths.get(_name(path), []) if other != path]
        return Match(tuple(files), tuple(rivals))


def path_below(folder: Path, file: Path) -> str:
    """Return a file's path relative to a folder, without its suffix.

    >>> path_below(Path("set"), Path("set/camera1/0007.jpg"))
    'camera1/0007'
    """
    return file.relative_to(folder).with_suffix("").as_posix()


def _name(path: str) -> str:
    return path.rpartition("/")[2]
