"""A folder that appears under its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detector.utils.errors import DetectorError
from detector.utils.files import remove, remove_orphans, temporary_path

EXPECTED = "expected a new or empty folder"


def check_new(output: Path, places: Iterable[Path]) -> None:
    """Raise DetectorError unless a folder can be written without touching what is there.

    Args:
        output: the folder to write.
        places: folders that are read. The new one may not lie in them, where it would be read, too.
    """
    try:
        if output.is_dir():
            if any(os.scandir(output)):
                raise DetectorError(f"is not empty, {EXPECTED}", file=output)
        elif output.exists() or output.is_symlink():
            raise DetectorError(f"is a file, {EXPECTED}", file=output)
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=output) from error
    real = Path(os.path.realpath(output))
    for place in places:
        if real.is_relative_to(os.path.realpath(place)):
            message = f"lies in {place}, which is read; expected a folder outside of it"
            raise DetectorError(message, file=output)


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield a temporary folder, and give it its name if the ``with`` block succeeds.

    What a killed process left of the same folder is removed first.

    Raises:
        DetectorError: it cannot be written; nothing of it stays.
    """
    output = Path(os.path.abspath(output))
    temporary = temporary_path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(output)
        remove(temporary)
        temporary.mkdir()
        yield temporary
        if output.is_dir():
            output.rmdir()  # it is empty
        os.rename(temporary, output)
    except OSError as error:
        raise DetectorError(f"cannot be written: {error.strerror or error}", file=output) from error
    finally:
        remove(temporary)
