"""Measure published weights: AP, ms and MB of their ONNX files, for docs/models.md.

::

    python docs/measure_models.py weights/ --data datasets/coco128.yaml --json models.json
    python docs/measure_models.py --table models.json

The first line measures the files of the folder that bear a name of the table, the second one writes
what was measured into the page. Run it on an idle machine: the networks are timed in turns, but
another program would slow all of them down.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import detector
from detector.utils.machine import cpu_info, cpu_name
from detector.utils.system import available_cores, installed_versions
from detector.weights.published import PUBLISHED, PublishedWeights

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"

VERSIONS = ("torch", "onnxruntime", "numpy", "pycocotools")

AP, MS, MB = 5, 8, 9
"""Cells of a row of the page that hold what is measured."""

RESAMPLES = 100
"""The fewest that a comparison takes; its intervals are not shown."""


def measure(folder: Path, rows: Iterable[PublishedWeights], **data: Any) -> dict[str, Any]:
    """Return the metrics of each file in the folder, with date, machine, versions and commit.

    Args:
        folder: holds files of weights, under the names that their authors give them.
        rows: files to look for.
        data: settings of ``detector compare`` that say which images are used.

    Raises:
        DetectorError: none of the files is there, or one cannot be read, exported or measured.
    """
    found = [row for row in rows if (folder / row.file).is_file()]
    if not found:
        raise detector.DetectorError("no file of the table in docs/weights.md", file=folder)
    with tempfile.TemporaryDirectory() as temporary:
        files = [export(folder, row, Path(temporary)) for row in found]
        # A comparison takes two or more models: the first is measured again, and left out.
        compared = detector.compare(*files, files[0], bootstrap=RESAMPLES, clip_boxes=True, **data)
    models = {
        row.file: {"AP": one.metrics.summary["AP"], "ms": one.ms_per_image, "MB": one.size_mb}
        for row, one in zip(found, compared.models, strict=False)
    }
    return {**circumstances(), "data": compared.data, "images": compared.images, "models": models}


def export(folder: Path, row: PublishedWeights, output: Path) -> Path:
    """Write the ONNX file of published weights, for one image of the side that AP is stated for."""
    weights = folder / row.file
    return detector.export(weights, "onnx", output / weights.stem, imgsz=row.imgsz).path


def circumstances() -> dict[str, Any]:
    """Return date, machine, versions and commit."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": cpu_name(cpu_info()) or "unknown processor",
        "cores": available_cores(),
        "versions": installed_versions(VERSIONS),
        "commit": commit.stdout.strip() or None,
    }


def with_figures(page: str, measured: dict[str, Any]) -> str:
    """Return the page with AP, milliseconds and megabytes in its table, and how they were measured.

    Rows of files that were not measured stay as they are.
    """
    lines = [_row(line, measured["models"]) for line in page.splitlines()]
    last = max(i for i, line in enumerate(lines) if _file_of(line))
    if lines[last + 2].startswith("Measured on "):
        del lines[last + 1 : last + 3]
    lines[last + 1 : last + 1] = ["", _how(measured)]
    return "\n".join(lines) + "\n"


def _file_of(line: str) -> str | None:
    """Return the file of weights that a row of the table is about."""
    found = re.match(r"\| `([\w.-]+\.(?:pth|pt|pdparams))` \|", line)
    return found[1] if found else None


def _row(line: str, models: dict[str, dict[str, float]]) -> str:
    one = models.get(_file_of(line) or "")
    if one is None:
        return line
    cells = line.strip("| ").split(" | ")
    cells[AP], cells[MS], cells[MB] = f"{one['AP']:.3f}", f"{one['ms']:.1f}", f"{one['MB']:.2f}"
    return f"| {' | '.join(cells)} |"


def _how(measured: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    machine = f"{measured['machine']}, {measured['cores']} cores"
    return f"Measured on {measured['date']}: {machine}; {versions}; commit {measured['commit']}."


def parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("folder", nargs="?", type=Path, help="holds files of weights")
    flags.add_argument("--data", default="datasets/coco128.yaml", help="images to measure AP on")
    flags.add_argument("--data-root", type=Path, help="where the files of the data set are")
    flags.add_argument("--json", type=Path, help="file to write what was measured to")
    flags.add_argument("--table", type=Path, help="file to write into the page, from --json")
    return flags


def main(words: list[str]) -> None:
    """Measure, or write a table."""
    asked = parser().parse_args(words)
    if asked.table is not None:
        measured = json.loads(asked.table.read_text(encoding="utf-8"))
        page = with_figures(PAGE.read_text(encoding="utf-8"), measured)
        PAGE.write_text(page, encoding="utf-8")
    elif asked.folder is not None and asked.json is not None:
        measured = measure(asked.folder, PUBLISHED, data=asked.data, data_root=asked.data_root)
        asked.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    else:
        parser().error("expected a folder with --json FILE, or --table FILE")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except detector.DetectorError as error:
        sys.exit(f"error: {error}")
