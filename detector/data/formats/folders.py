"""What lies in a folder, as every reader sees it: with linked folders, without hidden things."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Files of some kinds below a folder, without hidden ones and those in hidden folders.

    Links to folders are followed, after all plain folders, so that what lies in the folder itself
    goes by its own path. Each folder is entered once and none that holds the given one: a loop of
    links ends.

    Args:
        folder: gives nothing if it does not exist.
        suffixes: in lower case, with their dots; files may have them in either case.
    """
    entered = {_identity(parent) for parent in Path(os.path.realpath(folder)).parents}
    waiting = deque([str(folder)])
    while waiting:
        for place, folders, files in os.walk(waiting.popleft()):
            identity = _identity(place)
            if identity in entered:
                folders.clear()
                continue
            entered.add(identity)
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            paths = (os.path.join(place, name) for name in folders)
            waiting.extend(path for path in paths if os.path.islink(path))
            for name in files:
                if os.path.splitext(name)[1].lower() in suffixes and not is_hidden(name):
                    yield Path(place, name)


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """What a pattern finds in a folder, without hidden things; in no order."""
    for path in folder.glob(pattern):
        if not any(is_hidden(part) for part in path.relative_to(folder).parts):
            yield path


def is_hidden(name: str) -> bool:
    """Whether it is a file or folder of the system's or of a tool's, such as .ipynb_checkpoints."""
    return name.startswith(".")


def _identity(folder: str | Path) -> tuple[int, int] | None:
    """The same for all paths of a folder; None if it is out of reach."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
