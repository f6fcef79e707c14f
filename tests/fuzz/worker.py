"""A process that gives changed files to readers, one after the other, and says what came of each.

Usage: ``python -m tests.fuzz.worker TEMPLATES``. Each line of stdin is the name of a reader, a tab
and a number; the answer is one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from detector.utils.errors import MAX_ERROR_LINE, DetectorError
from tests.fuzz.mutations import MAX_BYTES, choose
from tests.fuzz.readers import READERS

MAX_ADDRESSES = 16 << 30
"""Address space of a worker, so that a reader without limits does not fill the machine."""


def main(templates: Path) -> None:
    """Answer until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES, MAX_ADDRESSES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # native libraries print, too
    os.dup2(1, 2)
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for line in sys.stdin:
            name, number = line.rstrip("\n").split("\t")
            answer = attempt(name, int(number), templates / name, Path(work) / name)
            print(json.dumps(answer), file=answers, flush=True)


def attempt(name: str, number: int, template: Path, folder: Path) -> dict[str, Any]:
    """Read one changed file.

    Returns:
        Outcome (``accepted``, ``refused``, or what is wrong), message, seconds, peak bytes.
    """
    if not folder.exists():
        shutil.copytree(template, folder)
    file, content = changed(name, number, template)
    (folder / file).write_bytes(content)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    wall, cpu = time.perf_counter(), time.process_time()
    outcome, message = outcome_of(name, folder, folder / file)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    shutil.copyfile(template / file, folder / file)
    return {
        "outcome": outcome,
        "message": message.replace(str(folder), ""),
        "file": str(file),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak_bytes(),
    }


def changed(name: str, number: int, template: Path) -> tuple[Path, bytes]:
    """Return the path of a file below its folder, and the content of that number.

    Below 0 it is a valid file, unchanged.
    """
    reader = READERS[name]
    rng = np.random.default_rng([zlib.crc32(name.encode()), abs(number)])
    files = sorted({path for pattern in reader.files for path in template.glob(pattern)})
    file = choose(rng, [path for path in files if path.is_file()])
    content = file.read_bytes()
    if number >= 0:
        content = choose(rng, reader.mutations)(content, rng)
    return file.relative_to(template), content[:MAX_BYTES]


def outcome_of(name: str, folder: Path, file: Path) -> tuple[str, str]:
    try:
        READERS[name].read(folder, file)
    except DetectorError as error:
        text = str(error)
        first, *others = text.splitlines()
        if not all(line.startswith("  ") for line in others):  # as those of a list of issues do
            return "several lines", text
        if any(map(is_unprintable, (first, *others))):
            return "a line that terminals break", ascii(text)
        return "refused", text
    except BaseException as error:
        lines = traceback.format_exc(limit=-8).splitlines()
        return type(error).__name__, "\n".join(line[:300] for line in lines)
    return "accepted", ""


def is_unprintable(line: str) -> bool:
    """Return whether a line is too long, or has characters that terminals obey."""
    controls = any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in line)
    return controls or len(line) > MAX_ERROR_LINE


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
