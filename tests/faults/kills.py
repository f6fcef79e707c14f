"""Kills trainings at random moments and goes on with them: ``python tests/faults/kills.py``.

Each training is killed once with signal 9, resumed, and compared with one that nobody killed: the
SHA-256 of the final weights. Exit code 0 if all are equal. ``--kills 200`` takes a night.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from detector.cli import run_tool, train  # noqa: F401  imported once, for all processes
from detector.weights.checkpoint import load, load_training_state

MODEL = """
nc: 4
anchors: [[12, 12, 24, 24], [32, 32, 48, 48]]
imgsz: 64
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
head:
  - [-1, 1, Conv, [16, 3, 2]]
  - [[2, 3], 1, Detect, [nc, anchors]]
"""
DATA = "generate: {name: shapes, image_size: 64, images: {train: 26, val: 8}}"


def main() -> int:
    """Compare as many killed trainings as asked for; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.workers, options.epochs)
        expected, seconds = bench.reference()
        equal = 0
        for number in range(options.kills):
            left = bench.kill_once(f"run{number}", moments, seconds)
            found = bench.digest(f"run{number}")
            equal += found == expected
            print(f"{number + 1}: killed {left}: {'equal' if found == expected else 'DIFFERENT'}")
            sys.stdout.flush()
    print(f"{equal} of {options.kills} equal, {options.workers} workers, SHA-256 {expected}")
    return 0 if equal == options.kills else 1


class Bench:
    """Trainings in a folder; each is a process of its own, forked so that nothing is imported."""

    def __init__(self, folder: Path, workers: int, epochs: int) -> None:
        self.folder = folder
        (folder / "model.yaml").write_text(MODEL)
        (folder / "data.yaml").write_text(DATA)
        self.words = [
            *("--cfg", folder / "model.yaml", "--data", folder / "data.yaml"),
            *("--data-root", folder, "--project", folder, "--device", "cpu"),
            *("--epochs", epochs, "--batch", 4, "--nominal-batch", 8, "--workers", workers),
            *("--save-minutes", 0),
        ]

    def reference(self) -> tuple[str, float]:
        """Digest of a training without workers; seconds until the last checkpoint with them."""
        self.run(*self.words, "--workers", 0, "--name", "alone")
        start = time.time()
        self.run(*self.words, "--name", "whole")
        assert self.digest("alone") == self.digest("whole")
        seconds = (self.folder / "whole" / "last.state.pt").stat().st_mtime - start
        return self.digest("alone"), seconds

    def kill_once(self, name: str, moments: random.Random, seconds: float) -> str:
        """Start, kill, go on to the end; returns where it was killed."""
        process = self.start(*self.words, "--name", name)
        process.join(moments.uniform(0, seconds))
        if process.exitcode is not None:  # faster than the reference: nothing was killed
            shutil.rmtree(self.folder / name)
            return self.kill_once(name, moments, seconds)
        process.kill()
        process.join()
        run = self.folder / name
        states = [run / "last.state.pt", run / "previous.state.pt"]
        state = next((state for state in states if state.is_file()), None)
        if state is None:
            self.run(*self.words, "--name", name)
            return "before the first checkpoint"
        progress = load_training_state(state)["progress"]
        self.run("--resume", run)
        return f"after epoch {progress['epoch']}, batch {progress['batch']}"

    def run(self, *words: object) -> None:
        """Train to the end."""
        process = self.start(*words)
        process.join()
        if process.exitcode != 0:
            raise SystemExit((self.folder / "log").read_text())

    def start(self, *words: object) -> BaseProcess:
        """Begin to train."""
        process = multiprocessing.get_context("fork").Process(target=self._train, args=(words,))
        process.start()
        return process

    def _train(self, words: tuple[object, ...]) -> None:
        log = os.open(self.folder / "log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.exit(run_tool("train", [str(word) for word in words]))

    def digest(self, name: str) -> str:
        """SHA-256 of a run's final weights."""
        found = hashlib.sha256()
        for key, tensor in load(self.folder / name / "last.safetensors").state_dict().items():
            found.update(key.encode() + tensor.contiguous().numpy().tobytes())
        return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
