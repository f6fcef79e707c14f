"""``torchrun`` with two processes beside one: equal weights, metrics, events; one that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.cli import run_tool
from detector.data.formats.definition import load_definition
from detector.engine.accumulation import check_all_used
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.model.detector import build
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load, load_training_state, save_weights
from tests.faults.kills import MODEL

ROOT = Path(__file__).resolve().parent.parent.parent
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
END_SECONDS = 60
"""A process that was left alone has ended by then."""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """25 images, 8 a batch: of the last batch's one image the second process gets nothing."""
    (tmp_path / "model.yaml").write_text(MODEL)
    data = "generate: {name: shapes, image_size: 64, images: {train: 25, val: 9}}"
    (tmp_path / "data.yaml").write_text(data)
    return [
        *("--cfg", str(tmp_path / "model.yaml"), "--data", str(tmp_path / "data.yaml")),
        *("--data-root", str(tmp_path), "--project", str(tmp_path), "--device", "cpu"),
        *("--precision", "fp64", "--schedule", "constant", "--batch", "8", "--epochs", "5"),
        *("--val-interval", "5", "--objectness-gain", "20", "--ema-warmup", "5"),
        "--no-pictures",  # they look at examples again
    ]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    def start(*words: str, name: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "WATCHED": str(tmp_path / f"{name}.seen")},
        )

    return start


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def lines(file: Path) -> list:
    return [json.loads(line) for line in file.read_text().splitlines()]


def largest_difference(a: Path, b: Path) -> float:
    """Of the weights and their averages."""
    states = [load_training_state(run / "last.state.pt") for run in (a, b)]
    return max(
        float((one - states[1][part][name]).abs().max())
        for part in ("model", "average")
        for name, one in states[0][part].items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("nominal_batch", ["8", "16"])
def test_two_train_as_one(words, start, tmp_path: Path, nominal_batch: str):
    """20 steps in float64, or 10 of two batches each; the last image of an epoch is a batch."""
    words += ["--nominal-batch", nominal_batch]
    script = "tests/faults/watched.py"
    alone = start(script, *words, "--name", "alone", name="alone")
    both = start(*TORCHRUN, script, *words, "--name", "both", name="both")
    finish(alone)
    said = finish(both)
    assert said.count("trained 5 epochs") == 1  # the main process alone speaks
    state = load_training_state(tmp_path / "both" / "last.state.pt")
    assert state["progress"]["step"] == 160 // int(nominal_batch)
    assert largest_difference(tmp_path / "alone", tmp_path / "both") <= 1e-9

    seen = [lines(tmp_path / f"both.seen/keys.{rank}") for rank in (0, 1)]
    assert sorted(seen[0] + seen[1]) == [
        [epoch, index, 0] for epoch in range(5) for index in range(25)
    ]
    assert [len(keys) for keys in seen] == [5 * (3 * 4 + 1), 5 * 3 * 4]
    assert lines(tmp_path / "both.seen/events") == lines(tmp_path / "alone.seen/events")
    records = [
        load_training_state(tmp_path / name / "last.state.pt")["progress"]["history"][-1]
        for name in ("alone", "both")
    ]
    assert records[0]["AP"] >= 0
    for name, value in records[0].items():
        if name != "seconds":
            assert records[1][name] == pytest.approx(value, rel=1e-9), name

    for name in ("alone", "both"):  # a checkpoint of two processes is gone on with by one
        again = start(script, "--resume", str(tmp_path / name), "--epochs", "6", name="again")
        assert "resumed at epoch 5 of 6" in finish(again)
    assert largest_difference(tmp_path / "alone", tmp_path / "both") <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("distill", ["outputs", "features"])
def test_two_learn_from_a_teacher_as_one(words, start, tmp_path: Path, distill: str):
    """With the average of the last epochs, and rows that learn more slowly, too."""
    (tmp_path / "teacher.yaml").write_text(MODEL.replace("[16, 3, 2]", "[24, 3, 2]"))
    names = load_definition(str(tmp_path / "data.yaml"), tmp_path).names
    save_weights(tmp_path / "teacher.safetensors", build(tmp_path / "teacher.yaml", names))
    words += ["--teacher", str(tmp_path / "teacher.safetensors"), "--distill", distill]
    words += ["--average-last", "2", "--layer-decay", "0.9", "--epochs", "2", "--val-interval", "2"]
    script = "tests/faults/watched.py"
    alone = start(script, *words, "--name", "alone", name="alone")
    both = start(*TORCHRUN, script, *words, "--name", "both", name="both")
    finish(alone)
    said = finish(both)
    assert said.count("average of 2 last epochs: ") == 1
    assert said.count("teacher teacher.safetensors, ") == 1
    assert largest_difference(tmp_path / "alone", tmp_path / "both") <= 1e-9
    states = [load_training_state(tmp_path / n / "last.state.pt") for n in ("alone", "both")]
    weights = [state["distillation"]["features"] for state in states]
    assert len(weights[0]) == (2 if distill == "features" else 0)
    for name, tensor in weights[0].items():
        assert float((tensor - weights[1][name]).abs().max()) <= 1e-9
    averages = [load(tmp_path / n / "averaged.safetensors").state_dict() for n in ("alone", "both")]
    for name, tensor in averages[0].items():
        torch.testing.assert_close(tensor, averages[1][name], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_measure_as_one(start, finder: Path, finder_data: Path, tmp_path: Path):
    found = {}
    for name, launcher in (("alone", ()), ("both", TORCHRUN)):
        files = [str(tmp_path / f"{name}.{what}") for what in ("metrics", "predictions")]
        words = ("--weights", str(finder), "--data", str(finder_data), "--device", "cpu")
        process = start(
            *launcher, "tools/val.py", *words, "--json", files[0], "--save-predictions", files[1]
        )
        assert finish(process).count("COCO AP (pycocotools) on 5 images") == 1
        found[name] = [json.loads(Path(file).read_text()) for file in files]
    assert found["both"] == found["alone"]
    assert found["both"][0]["AP"] > 0.9


@pytest.mark.slow
def test_the_main_process_chooses_for_both(
    start, finder: Path, finder_data: Path, tmp_path: Path
) -> None:
    """5 images: 8 a step, 4 a process, of which each has no more than 2 images."""
    words = ("--weights", str(finder), "--data", str(finder_data), "--device", "cpu")
    words += ("--epochs", "1", "--project", str(tmp_path), "--name", "both", "--no-pictures")
    said = finish(start(*TORCHRUN, "tools/train.py", *words))
    rows = [" ".join(line.split()) for line in said.splitlines()]
    (batch,) = [row for row in rows if row.startswith("batch ")]
    assert batch.startswith("batch 4 measured: ")
    assert "2 processes with 2 each" in " ".join(rows)
    assert said.count("trained 1 epochs") == 1
    assert "batch: 4\n" in (tmp_path / "both" / "preset.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_of_two_dies(words, start, tmp_path: Path, killed: int):
    run = tmp_path / "run"
    more = ("--epochs", "100000", "--val-interval", "100000", "--save-minutes", "0.01")
    process = start(*TORCHRUN, "tools/train.py", *words, *more, "--name", "run")
    deadline = time.monotonic() + 300
    while not (run / "previous.state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(child_of_rank(process.pid, killed), signal.SIGKILL)
    start_seconds = time.monotonic()
    _, err = process.communicate(timeout=END_SECONDS)
    assert time.monotonic() - start_seconds < END_SECONDS
    assert process.returncode != 0
    assert "another process of this run was lost (" in err
    assert f"resume with: torchrun --nproc-per-node 2 -m detector train --resume {run}" in err
    trainer = prepare(train_settings(resume=str(run)))
    step = trainer.progress.step
    assert step > 0
    next(trainer.train_epoch())
    assert trainer.progress.step == step + 1


def child_of_rank(launcher: int, rank: int) -> int:
    """Of the launcher's own children the one with that number in its environment."""
    for file in Path(f"/proc/{launcher}/task").glob("*/children"):
        for child in file.read_text().split():
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if b"RANK=%d" % rank in environment:
                return int(child)
    raise AssertionError(f"no process of rank {rank}")


def test_unused_weights_are_named():
    used, unused = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    used.grad = torch.zeros(1)
    frozen = torch.zeros(1)
    check_all_used({"a": used, "b": frozen})
    message = (
        "these weights have no part in the loss: c; with several processes each one must, or be "
        "frozen"
    )
    with pytest.raises(DetectorError) as caught:
        check_all_used({"a": used, "c": unused})
    assert str(caught.value) == message


def test_the_others_are_quiet(finder: Path, finder_images: Path, monkeypatch, capsys):
    """Of several processes the main one prints; an error says whose it is."""
    monkeypatch.setenv("RANK", "1")
    metrics = finder_images.parent / "metrics.json"
    words = ["--cfg", "cfg/yolov5n.yaml", "--json", str(metrics)]
    assert run_tool("info", words) == 0
    assert capsys.readouterr().out == ""
    assert not metrics.exists()
    assert run_tool("info", ["--cfg", "yolo5n"]) == 2
    message = "error: process 1: yolo5n: no such file; did you mean 'yolov5n'?\n"
    assert capsys.readouterr().err == message
