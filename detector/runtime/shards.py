"""Distribution of a source's files among processes: each reads a contiguous range.

The concatenated JSON lines of all parts therefore equal those of a single process.
"""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from detector.utils import system
from detector.utils.errors import DetectorError
from detector.utils.files import atomic


@dataclass(frozen=True)
class Shard:
    """One process's share of the files of a source.

    Attributes:
        number: of this process, from 1.
        count: number of processes.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse ``2/4``, the second of four.

        Raises:
            DetectorError: the text has another form, or the number exceeds the count.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count:
            raise DetectorError(f"--shard: expected i/n, from 1/n to n/n, found {text!r}")
        return cls(number, count)

    @classmethod
    def from_environment(cls) -> Shard | None:
        """Return the shard given by torchrun's environment variables, None for a single process."""
        count = system.world_size()
        return cls(system.rank() + 1, count) if count > 1 else None

    def part(self, total: int) -> range:
        """Return the indices of this shard's files, out of ``total``.

        >>> [list(Shard(number, 3).part(5)) for number in (1, 2, 3)]
        [[0], [1, 2], [3, 4]]
        """
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)

    def file(self, path: Path) -> Path:
        """Return the path of this shard's part of an output file: ``detections.2-of-4.jsonl``."""
        return path.with_name(f"{path.stem}.{self.number}-of-{self.count}{path.suffix}")

    def remove_outputs(self, path: Path) -> None:
        """Remove this shard's part and the merged file, if an earlier run left them."""
        for file in (self.file(path), path):
            file.unlink(missing_ok=True)

    def merge(self, path: Path) -> bool:
        """Merge the parts into one file if all exist, and remove them; True if this was done.

        The last process to finish does so. Removed parts cannot get into the merged file of a
        later run. Two processes that finish at the same time write the same content, since a part
        that is already open can still be read.
        """
        parts = [Shard(number, self.count).file(path) for number in range(1, self.count + 1)]
        with ExitStack() as stack:
            try:
                opened = [stack.enter_context(part.open("rb")) for part in parts]
            except FileNotFoundError:  # another process has not finished, or has merged them
                return False
            with atomic(path) as temporary, temporary.open("wb") as merged:
                for lines in opened:
                    shutil.copyfileobj(lines, merged)
        for part in parts:
            part.unlink(missing_ok=True)
        return True

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
