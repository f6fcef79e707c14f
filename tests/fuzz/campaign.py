"""Fuzz of all readers: ``python -m tests.fuzz.campaign --inputs 20000``.

Workers read changed files; one that crashes or hangs is started again. A fault is named by reader
and number, which always mean the same input.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.readers import READERS

ROOT = Path(__file__).parents[2]
MAX_SECONDS, MAX_BYTES = 10.0, 2 << 30
"""Largest processor time and resident memory of a reader."""
HANG_SECONDS = 300.0
"""A worker without an answer after so long is killed; other processes may hold the machine back."""

Input = tuple[str, int]
Answer = dict[str, Any]


def make_templates(folder: Path, names: Sequence[str]) -> None:
    """Write the valid files of each reader."""
    for name in names:
        if not (folder / name).exists():
            (folder / name).mkdir(parents=True)
            READERS[name].make(folder / name)


class Worker:
    """A process of ``worker.py``, started again after a crash."""

    def __init__(self, templates: Path) -> None:
        self._templates = templates
        self._process: subprocess.Popen[str] | None = None

    def ask(self, name: str, number: int) -> Answer:
        """Return what came of an input."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{name}\t{number}\n")
        process.stdin.flush()
        answers = select.select([process.stdout], [], [], HANG_SECONDS)[0]
        line = process.stdout.readline() if answers else ""
        if line:
            return json.loads(line)  # type: ignore[no-any-return]
        outcome = "crash" if answers else "hang"
        self.close()
        return {"outcome": outcome, "message": "", "seconds": 0, "cpu_seconds": 0, "peak_bytes": 0}

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", str(self._templates)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def run(inputs: Sequence[Input], templates: Path, workers: int) -> Iterator[tuple[Input, Answer]]:
    """Yield the answer to each input, as they come."""
    waiting: queue.SimpleQueue[Input | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[Input, Answer] | None] = queue.SimpleQueue()
    for one in [*inputs, *[None] * workers]:
        waiting.put(one)

    def work() -> None:
        worker = Worker(templates)
        while (one := waiting.get()) is not None:
            answers.put((one, worker.ask(*one)))
        worker.close()
        answers.put(None)

    for _ in range(workers):
        threading.Thread(target=work, daemon=True).start()
    while workers:
        answer = answers.get()
        if answer is None:
            workers -= 1
        else:
            yield answer


def fault(answer: Answer) -> str | None:
    """Return what is wrong with an answer."""
    if answer["outcome"] not in ("accepted", "refused"):
        return str(answer["outcome"])
    if answer["cpu_seconds"] > MAX_SECONDS:
        return f"{answer['cpu_seconds']:.0f} s"
    if answer["peak_bytes"] > MAX_BYTES:
        return f"{answer['peak_bytes'] / 1e9:.1f} GB"
    return None


def chosen_inputs(count: int, names: Sequence[str], first: int = 0) -> list[Input]:
    """Return about ``count`` inputs, shared out among the readers."""
    shares = sum(READERS[name].share for name in names)
    numbers = {name: -(-count * READERS[name].share // shares) for name in names}
    return [
        (name, first + number) for number in range(max(numbers.values())) for name in names
        if number < numbers[name]
    ]  # fmt: skip


def main() -> int:
    """Fuzz, print each fault and a table; return 1 after a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--readers", nargs="*", default=list(READERS))
    parser.add_argument("--templates", type=Path, help="folder of valid files, kept")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        templates = flags.templates or Path(temporary)
        make_templates(templates, flags.readers)
        found: dict[str, list[Answer]] = {name: [] for name in flags.readers}
        inputs = chosen_inputs(flags.inputs, flags.readers, flags.first)
        faults = 0
        for (name, number), answer in run(inputs, templates, flags.workers):
            found[name].append(answer)
            if sum(map(len, found.values())) % 1000 == 0:
                print(table(found), flush=True)
            what = fault(answer)
            if what:
                faults += 1
                print(f"FAULT {name} {number}: {what}\n{answer['message']}", flush=True)
    print(table(found))
    return 1 if faults else 0


def table(found: dict[str, list[Answer]]) -> str:
    """Return counts, longest time and largest memory by reader."""
    rows = [
        f"{'reader':24} {'inputs':>7} {'accepted':>9} {'refused':>8} {'faults':>7}"
        f" {'s':>6} {'MB':>6}"
    ]
    for name, answers in {**found, "all": [a for each in found.values() for a in each]}.items():
        outcomes = Counter("fault" if fault(answer) else answer["outcome"] for answer in answers)
        slowest = max((answer["seconds"] for answer in answers), default=0)
        largest = max((answer["peak_bytes"] for answer in answers), default=0)
        rows.append(
            f"{name:24} {len(answers):7} {outcomes['accepted']:9} {outcomes['refused']:8} "
            f"{outcomes['fault']:7} {slowest:6.2f} {largest / 1e6:6.0f}"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
