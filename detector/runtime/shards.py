"""Several processes share out the files of a source: each takes a run of neighbours.

So their JSON lines, one part after the other, are those of a single process.
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
    """One of ``count`` processes; ``number`` counts from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/4``: the second of four.

        Raises:
            DetectorError: it is not of that form, or there is no such part.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count:
            raise DetectorError(f"--shard: expected i/n, from 1/n to n/n, found {text!r}")
        return cls(number, count)

    @classmethod
    def of_environment(cls) -> Shard | None:
        """What torchrun says of this process; None where it is alone."""
        count = system.world_size()
        return cls(system.rank() + 1, count) if count > 1 else None

    def part(self, total: int) -> range:
        """The numbers of its files, of ``total``.

        >>> [list(Shard(number, 3).part(5)) for number in (1, 2, 3)]
        [[0], [1, 2], [3, 4]]
        """
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)

    def file(self, path: Path) -> Path:
        """Where its part of a file goes: ``detections.2-of-4.jsonl``."""
        return path.with_name(f"{path.stem}.{self.number}-of-{self.count}{path.suffix}")

    def forget(self, path: Path) -> None:
        """Remove its part, and the whole, of an earlier run."""
        for file in (self.file(path), path):
            file.unlink(missing_ok=True)

    def merge(self, path: Path) -> bool:
        """Put the parts together if all are there: the last process to finish does so.

        Then the parts go, so that none of them gets into the whole of a later run. Two that finish
        at the same time write the same: a part that one has opened can still be read.
        """
        parts = [Shard(number, self.count).file(path) for number in range(1, self.count + 1)]
        with ExitStack() as stack:
            try:
                opened = [stack.enter_context(part.open("rb")) for part in parts]
            except FileNotFoundError:  # another process is not done, or has merged them
                return False
            with atomic(path) as temporary, temporary.open("wb") as whole:
                for lines in opened:
                    shutil.copyfileobj(lines, whole)
        for part in parts:
            part.unlink(missing_ok=True)
        return True

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
