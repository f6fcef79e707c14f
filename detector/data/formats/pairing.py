"""Pairing of images with label files: by the same path, else by the same name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from detector.data.formats.issues import Issue


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


def shared_files(pairs: Iterable[tuple[Path, Path]]) -> dict[Path, Issue]:
    """Return an issue for each image whose label file is that of an image of another folder, too.

    Args:
        pairs: images with their label files, which need not exist.
    """
    by_file: dict[Path, list[Path]] = {}
    for image, file in pairs:
        by_file.setdefault(file, []).append(image)
    issues: dict[Path, Issue] = {}
    for file, group in by_file.items():
        if len(group) == 1 or not file.is_file():
            continue
        places = {image: os.path.realpath(image.parent) for image in group}
        first_of: dict[str, Path] = {}
        for image, place in places.items():
            first_of.setdefault(place, image)
        for image in group:  # at most two steps, however long a list that repeats images is
            other = next((one for place, one in first_of.items() if place != places[image]), None)
            if other is not None:
                message = f"{file} may be its labels or those of {other}, expected a file for each"
                issues[image] = Issue(image, message, drops_image=True)
    return issues


def path_below(folder: Path, file: Path) -> str:
    """Return a file's path relative to a folder, without its suffix.

    >>> path_below(Path("set"), Path("set/camera1/0007.jpg"))
    'camera1/0007'
    """
    return file.relative_to(folder).with_suffix("").as_posix()


def _name(path: str) -> str:
    return path.rpartition("/")[2]
