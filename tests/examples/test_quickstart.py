"""The notebook of the first five minutes, cell by cell, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
MOST_LINES = 8
IMAGES = 24
"""Number of images of each split: all of BCCD would say nothing more about the cells."""


def lines_of_code() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [
        line
        for cell in cells
        if cell["cell_type"] == "code"
        for line in "".join(cell["source"]).splitlines()
        if line
    ]


def few_of_bccd(bccd: Path, folder: Path) -> None:
    """Link BCCD's images and labels, and list the first images of each split."""
    for name in ("Annotations", "JPEGImages"):
        (folder / name).symlink_to(bccd / name)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split in ("train", "val", "test"):
        names = (bccd / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        (lists / f"{split}.txt").write_text("\n".join(names[:IMAGES]))


def test_as_a_newcomer_runs_it(shared: Path, tmp_path: Path):
    """Nothing is printed but what a cell prints: no warning, no message of a library."""
    lines = lines_of_code()
    assert len(lines) <= MOST_LINES
    checkout = tmp_path / "checkout"  # runs/ appears beside it, not in the real one
    checkout.mkdir()
    bccd = tmp_path / "shared" / "data" / "bccd"
    bccd.mkdir(parents=True)
    few_of_bccd(shared / "data" / "bccd", bccd)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("{'AP': 0.")
    assert done.stdout.count("\n") == 1
    assert (checkout / "runs" / "train" / "1" / "best.onnx").is_file()
