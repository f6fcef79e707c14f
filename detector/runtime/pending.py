"""Files that are written under a temporary name for as long as a run takes, then renamed."""

from __future__ import annotations

from pathlib import Path

from detector.utils.errors import DetectorError
from detector.utils.files import atomic

NOT_UTF8 = "backslashreplace"
r"""How bytes of file names that are not UTF-8 are written, which is JSON's own form: ``\udce9`` for
the byte E9. Python's ``json.loads`` and ``os.fsencode`` return the name."""


class _DiscardError(Exception):
    """Signal to ``atomic`` to discard its temporary file."""


class PendingFile:
    """A temporary file that replaces ``path`` when it is finished.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._atomic = atomic(path)
        self.temporary = self._atomic.__enter__()

    def finish(self, failed: bool) -> None:
        """Rename the temporary file, or discard it after a failure."""
        error = _DiscardError() if failed else None
        self._atomic.__exit__(type(error) if error else None, error, None)


class PendingText:
    """A text file, UTF-8, that replaces ``path`` when it is finished.

    Args:
        path: the file.

    Raises:
        DetectorError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending = PendingFile(path)
        try:
            self._file = self._pending.temporary.open(
                "w", encoding="utf-8", errors=NOT_UTF8, newline="\n"
            )
        except OSError as error:
            raise self._error(error) from error

    def write(self, text: str) -> None:
        """Append text."""
        try:
            self._file.write(text)
        except OSError as error:
            raise self._error(error) from error

    def finish(self, failed: bool) -> None:
        """Close and rename the file, or discard it after a failure."""
        try:
            self._file.close()
        except OSError as error:
            self._pending.finish(failed=True)
            raise self._error(error) from error
        self._pending.finish(failed)

    def _error(self, error: OSError) -> DetectorError:
        return DetectorError(f"cannot be written: {error.strerror or error}", file=self._path)
