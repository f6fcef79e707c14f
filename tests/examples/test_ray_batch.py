"""Ray Data on this machine against ``detect --jsonl``: the same rows, whatever is lost on the way.

Needs ``pip install "ray[data]>=2.60,<2.64"``; run by
``python -m pytest -m heavy -n 0 tests/examples/test_ray_batch.py``, with ``RAY_IMAGES=5000`` for
more images than 120.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = int(os.environ.get("RAY_IMAGES", "120"))
CONFIDENCE = 0.02

pytestmark = pytest.mark.heavy
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
psutil = pytest.importorskip("psutil")
pytest.importorskip("ray")


@pytest.fixture(scope="module")
def weights(finder_onnx: Path) -> Path:
    """A small network, which at this confidence finds something in most photos."""
    return finder_onnx


@pytest.fixture(scope="module")
def images(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images under other names, and one file that is none, in the middle."""
    folder = tmp_path_factory.mktemp("images")
    real = [
        *sorted((shared / "data" / "coco128" / "images").rglob("*.jpg")),
        *sorted((shared / "data" / "bccd" / "JPEGImages").glob("*.jpg")),
    ]
    for number in range(IMAGES):
        (folder / f"{number:06d}.jpg").symlink_to(real[number % len(real)])
    (folder / f"{IMAGES // 2:06d}-bad.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def expected(weights: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Lines of one process."""
    output = tmp_path_factory.mktemp("one")
    flags = f"--weights {weights} --source {images} --output {output} --threads 1 --no-draw"
    words = [*flags.split(), "--confidence", str(CONFIDENCE), "--jsonl", "--skip-bad"]
    subprocess.run([sys.executable, "-m", "detector", "detect", *words], check=True, cwd=ROOT)
    lines = (output / "detections.jsonl").read_text().splitlines()
    assert len(lines) == IMAGES
    return [json.loads(line) for line in lines]


def command(*words: Any, script: Path = ROOT / "examples" / "ray_batch.py") -> list[str]:
    return [sys.executable, str(script), *map(str, words), "--confidence", str(CONFIDENCE)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*words: Any, script: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(*words, script=script), env=environment(), start_new_session=True
    )


def run(*words: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), env=environment(), capture_output=True, text=True, check=False
    )


def rows(folder: Path) -> tuple[list[Any], list[Any]]:
    """Return the rows with a prediction and the others, in the order of their paths."""
    found = [row for part in folder.glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    found.sort(key=lambda row: row["path"])
    good = [row for row in found if row["error"] is None]
    for row in good:
        del row["error"]
    return good, [row for row in found if row.get("error")]


def workers(job: subprocess.Popen[bytes]) -> list[Any]:
    children = psutil.Process(job.pid).children(recursive=True)
    return [one for one in children if "Detect" in " ".join(one.cmdline())]


def wait_for_rows(job: subprocess.Popen[bytes], folder: Path) -> None:
    while not any(folder.glob("*.parquet")):
        assert job.poll() is None, "it ended before anything was written"
        time.sleep(0.05)


@pytest.fixture
def small_files(tmp_path: Path) -> Path:
    """The script, but for the rows of a file: it writes before it ends."""
    text = (ROOT / "examples" / "ray_batch.py").read_text()
    script = tmp_path / "ray_batch.py"
    script.write_text(re.sub("FILES, ROWS = 64, 1000", f"FILES, ROWS = 64, {IMAGES // 10}", text))
    return script


def test_a_worker_is_killed_in_the_middle(
    weights: Path, images: Path, expected: list[Any], small_files: Path, tmp_path: Path
):
    output = tmp_path / "results"
    job = start(weights, images, output, script=small_files)
    wait_for_rows(job, output)
    alive = workers(job)
    assert len(alive) == 2
    alive[0].send_signal(signal.SIGKILL)
    assert job.wait() == 0
    good, bad = rows(output)
    assert good == expected  # to the last digit, each once, in order of names
    assert [(Path(row["path"]).name, row["error"]) for row in bad] == [
        (
            f"{IMAGES // 2:06d}-bad.jpg",
            f"{images}/{IMAGES // 2:06d}-bad.jpg: is not an image that OpenCV can decode",
        )
    ]


def test_a_job_that_was_killed_continues(
    weights: Path, images: Path, expected: list[Any], small_files: Path, tmp_path: Path
):
    output = tmp_path / "results"
    job = start(weights, images, output, script=small_files)
    wait_for_rows(job, output)
    others = psutil.Process(job.pid).children(recursive=True)  # Ray's, which outlive it for seconds
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    psutil.wait_procs(others)
    (output / "cut.parquet").write_bytes(b"PAR1 and no end")
    before = len(rows_of_complete_files(output))
    done = run(weights, images, output)
    assert done.returncode == 0, done.stderr
    assert f"{IMAGES + 1 - before} files to read, {before} images written before" in done.stdout
    assert 0 < before < IMAGES
    assert rows(output)[0] == expected

    again = run(weights, images, output)
    assert again.stdout == f"0 files to read, {IMAGES + 1} images written before\n"


def rows_of_complete_files(folder: Path) -> list[Any]:
    found = []
    for part in folder.glob("*.parquet"):
        with suppress(pa.ArrowInvalid):
            found += pq.read_table(part).to_pylist()
    return found


def test_tars_and_parquet_files(weights: Path, images: Path, expected: list[Any], tmp_path: Path):
    source, files = tmp_path / "packed", sorted(images.glob("*.jpg"))[:12]
    source.mkdir()
    with tarfile.open(source / "0.tar", "w") as tar:
        for file in files[:6]:
            tar.add(file.resolve(), file.name)
    with tarfile.open(source / "1.tar", "w") as tar:
        tar.add(files[0].resolve(), "cut.jpg")
    with (source / "1.tar").open("r+b") as cut:
        cut.truncate(4000)
    table = {"bytes": [file.read_bytes() for file in files[6:]], "key": [f.name for f in files[6:]]}
    pq.write_table(pa.table(table), source / "2.parquet")

    done = run(weights, source, tmp_path / "results", "--columns", "bytes,key")
    assert done.returncode == 0, done.stderr
    good, bad = rows(tmp_path / "results")
    names = [f"{source}/0.tar/{file.name}" for file in files[:6]]
    names += [f"{source}/2.parquet/{file.name}" for file in files[6:]]
    assert good == [{**row, "path": path} for row, path in zip(expected[:12], names, strict=True)]
    assert [row["error"] for row in bad] == [
        f"{source}/1.tar: is not a whole tar: unexpected end of data"
    ]


def test_other_settings_are_refused_in_one_line(weights: Path, images: Path, tmp_path: Path):
    output = tmp_path / "results"
    output.mkdir()
    (output / "_run.json").write_text(json.dumps({"weights_sha256": "0"}))
    done = run(weights, images, output)
    assert done.returncode == 2
    assert "the rows here were made with weights_sha256 0, not" in done.stderr
