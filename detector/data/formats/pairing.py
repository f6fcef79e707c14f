"""Which file of a folder goes with a path: that of the same path, else that of the same name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Match:
    """The files that may go with a path.

    Attributes:
        files: none, one, or several of the same name.
        rivals: other paths that those files may go with.
    """

    files: tuple[Path, ...] = ()
    rivals: tuple[str, ...] = ()

    @property
    def is_unclear(self) -> bool:
        """Whether a choice would be a guess."""
        return len(self.files) > 1 or bool(self.files and self.rivals)

    @property
    def file(self) -> Path | None:
        """The file, if there is one and it is clear which."""
        return self.files[0] if self.files and not self.is_unclear else None


class Pairing:
    """Finds files of a folder by paths without suffix, such as ``camera1/0007``.

    What has the same path below the folder goes together. What is left over goes together by its
    name, ``0007``, wherever the file lies.

    Args:
        folder: what the files' paths are relative to.
        files: files below it, sorted; of those that differ in their suffix only, the first counts.
        wanted: all paths that will be asked for.
    """

    def __init__(self, folder: Path, files: Iterable[Path], wanted: Iterable[str]) -> None:
        self._by_path: dict[str, Path] = {}
        for file in files:
            self._by_path.setdefault(path_below(folder, file), file)
        asked_for = dict.fromkeys(wanted)
        self._files: dict[str, list[Path]] = {}
        for path, file in self._by_path.items():
            if path not in asked_for:
                self._files.setdefault(_name(path), []).append(file)
        self._paths: dict[str, list[str]] = {}
        for path in asked_for:
            if path not in self._by_path:
                self._paths.setdefault(_name(path), []).append(path)

    def find(self, path: str) -> Match:
        """The files that may go with one of the wanted paths."""
        if path in self._by_path:
            return Match((self._by_path[path],))
        files = self._files.get(_name(path), [])
        rivals = [other for other in self._paths.get(_name(path), []) if other != path]
        return Match(tuple(files), tuple(rivals))


def path_below(folder: Path, file: Path) -> str:
    """A file's path relative to a folder, without its suffix.

    >>> path_below(Path("set"), Path("set/camera1/0007.jpg"))
    'camera1/0007'
    """
    return file.relative_to(folder).with_suffix("").as_posix()


def _name(path: str) -> str:
    return path.rpartition("/")[2]
