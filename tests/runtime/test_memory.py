"""Detecting in a large folder takes no more memory than in a small one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
from detector.cli import run_tool
from detector.utils.system import peak_memory
weights, source, output = sys.argv[1:]
words = ["--weights", weights, "--source", source, "--output", output, "--no-draw", "--jsonl"]
assert run_tool("detect", [*words, "--threads", "1"]) == 0
print(peak_memory())
"""


def peak_bytes(weights: Path, images: list[Path], count: int, folder: Path) -> int:
    """Peak memory of a process that detects in so many links to images."""
    source = folder / f"{count}"
    source.mkdir()
    for number in range(count):
        os.symlink(images[number % len(images)], source / f"{number:06d}.jpg")
    command = [sys.executable, "-c", PROGRAM, str(weights), str(source), str(folder / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len((folder / "out" / "detections.jsonl").read_text().splitlines()) == count
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_folder(shared: Path, finder_onnx: Path, tmp_path: Path):
    images = sorted((shared / "data/coco128/images").rglob("*.jpg"))[:100]
    few = peak_bytes(finder_onnx, images, 100, tmp_path)
    many = peak_bytes(finder_onnx, images, 10_000, tmp_path)
    print(f"peak memory: {few / 1e6:.1f} MB for 100 images, {many / 1e6:.1f} MB for 10,000")
    assert many <= 1.1 * few
