"""A run that is cut off anywhere goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.cli import run_tool
from detector.engine.callbacks import Terminal
from detector.engine.stopping import StopRequest
from detector.engine.trainer import Trainer
from detector.utils.errors import DetectorError, Interrupted
from detector.weights.checkpoint import load, load_training_state, read_metadata
from tests.engine.conftest import AfterStep, digest

Start = Callable[..., Trainer]


@pytest.mark.parametrize("nominal_batch", [pytest.param(3, marks=pytest.mark.slow), 6])
def test_from_every_step(start: Start, resume: Start, tmp_path: Path, nominal_batch: int):
    """The folder as a kill would leave it, after each step; of an epoch's 3 batches 1 or 2 a step.

    The folder after a step holds the checkpoint of the step before, or of the epoch's end.
    """
    whole = start("whole", save_minutes=0, nominal_batch=nominal_batch)
    count = 0

    def keep() -> None:
        nonlocal count
        count += 1
        if whole.run.state.exists():
            shutil.copytree(whole.run.folder, tmp_path / f"cut{count}")

    whole.callbacks.append(AfterStep(keep))
    whole.fit()
    steps = 9 if nominal_batch == 3 else 6
    assert count == steps
    seen = []
    for number in range(2, steps + 1):
        cut = resume(f"cut{number}")
        seen.append((cut.progress.epoch, cut.progress.batch))
        cut.fit()
        assert digest(cut) == digest(whole)
        assert load_training_state(cut.run.state)["progress"]["step"] == steps
    batches = [1, 2, 0] if nominal_batch == 3 else [2, 0]
    assert seen == [(epoch, b) for epoch in range(3) for b in sorted(batches)][1:]


def test_all_commands_are_kept(start: Start, resume: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--cfg", "a.yaml"])
    whole = start("run")
    whole.callbacks.append(AfterStep(lambda: os.kill(os.getpid(), signal.SIGINT), 4))
    with pytest.raises(Interrupted):
        whole.fit()
    monkeypatch.setattr("sys.argv", ["train.py", "--resume"])
    resume("run").fit()
    commands = ["train.py --cfg a.yaml", "train.py --resume"]
    assert json.loads(whole.run.provenance.read_text())["commands"] == commands
    assert read_metadata(whole.run.last).training["commands"] == commands


def test_activations_that_are_computed_again_change_nothing(start: Start, resume: Start):
    """Weights, averages and losses are the same to the last bit, also where a run changes over."""
    whole = start("whole")
    whole.fit()
    assert not whole.state.raw_model.recomputes
    again = start("again", checkpoint_activations=True)
    assert again.state.raw_model.recomputes
    again.fit()
    assert digest(again) == digest(whole)
    cut = start("cut", save_minutes=0)
    cut.callbacks.append(AfterStep(lambda: os.kill(os.getpid(), signal.SIGINT), 4))
    with pytest.raises(Interrupted):
        cut.fit()
    other = resume("cut", checkpoint_activations=True)
    other.fit()
    assert digest(other) == digest(whole)


def test_workers_change_nothing(start: Start):
    alone, helped = start("alone"), start("helped", workers=2)
    alone.fit()
    helped.fit()
    assert digest(helped) == digest(alone)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(
    start: Start, resume: Start, tmp_path: Path, number: int
):
    whole, cut = start("whole"), start("cut")
    whole.fit()
    cut.callbacks.append(AfterStep(lambda: os.kill(os.getpid(), number), 4))
    with pytest.raises(Interrupted) as caught:
        cut.fit()
    assert caught.value.signal_number == number
    command = f"resume with: detector train --resume {tmp_path / 'cut'}"
    assert str(caught.value) == f"stopped; {command}"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    found = load_training_state(cut.run.state)["progress"]
    assert (found["epoch"], found["batch"], found["step"]) == (1, 1, 4)
    again = resume("cut")
    again.fit()
    assert digest(again) == digest(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_before_the_step_is_finished(number: int, caplog):
    caplog.set_level("INFO", "detector")
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.is_asked
    assert caplog.messages == [
        "stopping: the step under way is finished and saved first; Ctrl-C again stops at once"
    ]


@pytest.mark.parametrize("error", [BrokenPipeError("closed"), RuntimeError("reentrant call")])
def test_a_signal_whose_message_cannot_be_written(error: Exception, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("detector.engine.stopping.logger.info", fail)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_asked


def test_a_signal_during_validation(start: Start, resume: Start, monkeypatch):
    whole, cut = start("whole"), start("cut")
    whole.fit()
    monkeypatch.setattr(cut, "validate", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="resume with: "):
        cut.fit()
    found = load_training_state(cut.run.state)["progress"]
    assert (found["epoch"], found["batch"]) == (2, 3)
    again = resume("cut")
    again.fit()
    assert digest(again) == digest(whole)


def test_a_second_ctrl_c_interrupts_at_once(start: Start):
    trainer = start("run")

    def impatient() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("was not interrupted")

    trainer.callbacks.append(AfterStep(impatient))
    with pytest.raises(Interrupted, match="^stopped; there is no checkpoint yet to resume from$"):
        trainer.fit()


def test_the_tool_s_exit_code(start: Start, tmp_path: Path, monkeypatch, capfd):
    start("run").save()
    monkeypatch.setattr(Terminal, "on_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert run_tool("train", ["--resume", str(tmp_path / "run")]) == 128 + signal.SIGTERM
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"stopped; resume with: detector train --resume {tmp_path / 'run'}"
    )


# -------------------------------------------------------------------------------- what it goes on


def test_more_epochs_with_a_constant_learning_rate(start: Start, resume: Start, caplog):
    caplog.set_level("INFO", "detector")
    whole = start("whole", schedule="constant", val_interval=1)
    whole.fit()
    start("cut", schedule="constant", val_interval=1, epochs=2).fit()
    more = resume("cut", epochs=3)
    line = "resumed with 3 epochs, until now 2: the same training as with --epochs 3 from the start"
    assert line in caplog.messages
    more.fit()
    assert digest(more) == digest(whole)
    assert resume("cut").settings.epochs == 3


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({}, "learning rates"),
        ({"close_mixing": 1}, "learning rates and mixed images"),
        ({"close_mixing": 1, "schedule": "constant"}, "mixed images"),
    ],
)
def test_more_epochs_that_differ(start: Start, resume: Start, caplog, values: dict, parts: str):
    caplog.set_level("INFO", "detector")
    start("run", epochs=2, **values).fit()
    trainer = resume("run", epochs=4)
    line = (
        "resumed with 4 epochs, until now 2: not the training of --epochs 4 from the start, which "
        f"would have had other {parts} until here"
    )
    assert line in caplog.messages
    # step 6 of 12, the rate of a schedule of 4 epochs, not the old one's end
    assert trainer.state.learning_rate == trainer.state.schedule(6)
    assert trainer.fit().epoch == 4


def test_fewer_epochs(start: Start, resume: Start):
    start("run").save()
    message = "--epochs 2 does not go with --resume: the run was started with 3"
    with pytest.raises(DetectorError, match=message):
        resume("run", epochs=2)


def test_what_may_be_given_anew(start: Start, resume: Start):
    start("run").save()
    trainer = resume("run", patience=5, workers=1, skip_nonfinite=True, save_minutes=1.0)
    assert (trainer.settings.patience, trainer.settings.workers) == (5, 1)
    again = resume("run").settings
    assert (again.patience, again.skip_nonfinite, again.save_minutes) == (5, True, 1.0)
    assert again.workers is None  # of that process only


def test_the_newest_run(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for age, name in enumerate(("new", "old")):
        trainer = start(name, epochs=1)
        trainer.fit()
        os.utime(trainer.run.state, (0, 1000 - age))
    capsys.readouterr()
    assert run_tool("train", ["--resume", "--project", str(tmp_path)]) == 0
    assert f"run {tmp_path / 'new'}: resumed at epoch 1 of 1" in capsys.readouterr().out


def test_changed_data(start: Start, resume: Start, tiny_data: Path, tmp_path: Path):
    root = tmp_path / "data"
    shutil.copytree(tiny_data.parent, root)
    definition = root / "tiny.yaml"
    definition.write_text(tiny_data.read_text().replace(str(tiny_data.parent), str(root)))
    start("run", data=str(definition)).save()
    resume("run")
    label = root / "labels" / "train" / "3.txt"
    whole = label.read_text()
    label.write_text(whole.replace("0.5 0.5", "0.5 0.4"))
    message = (
        "split '{}' has changed since the run was started: {}; a run can only be resumed with "
        "the same data, start a new one"
    )
    with pytest.raises(DetectorError) as caught:
        resume("run")
    assert str(caught.value) == message.format("train", "labels")
    label.write_text(whole)
    image = root / "images" / "val" / "0.png"
    image.write_bytes(image.read_bytes() + b" ")
    with pytest.raises(DetectorError) as caught:
        resume("run")
    assert str(caught.value) == message.format("val", "image files")


# --------------------------------------------------------------------------------- damaged, lost


def test_a_state_between_its_two_names(start: Start, resume: Start):
    trainer = start("run", save_minutes=0)
    trainer.fit()
    trainer.run.state.unlink()
    (trainer.run.folder / ".last.state.1.tmp.pt").write_bytes(b"half a file")
    again = resume("run")
    assert (again.progress.epoch, again.progress.batch) == (2, 3)
    assert not list(trainer.run.folder.glob(".*"))


@pytest.fixture(scope="module")
def damaged() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "truncated": lambda whole: whole[:-100],
        "flipped": lambda whole: whole[:9000] + bytes([whole[9000] ^ 4]) + whole[9001:],
        "empty": lambda _: b"",
        "foreign": lambda _: b"\x89PNG\r\n\x1a\n" * 100,
    }


@pytest.mark.parametrize("kind", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_state(start: Start, resume: Start, damaged, kind: str, capfd):
    trainer = start("run")
    trainer.save()
    path = trainer.run.state
    path.write_bytes(damaged[kind](path.read_bytes()))
    assert run_tool("train", ["--resume", str(path.parent)]) == 2
    line = capfd.readouterr().err
    assert line.startswith(f"error: {path}: damaged or not an archive of PyTorch: ")
    assert line.count("\n") == 1
    trainer.save()  # which makes the damaged one the one before
    trainer.save()
    path.write_bytes(damaged[kind](path.read_bytes()))
    hint = f"; the one before it: --resume {trainer.run.previous}\n"
    assert run_tool("train", ["--resume", str(path.parent)]) == 2
    assert capfd.readouterr().err.endswith(hint)
    assert resume("run/previous.state.pt").progress.step == 0


@pytest.mark.parametrize(
    "state", [{"epoch": 3}, {"card": "{}", "data": {}}, {"card": 5, "model": torch.zeros(1)}]
)
def test_another_program_s_state(start: Start, state: dict, capfd):
    trainer = start("run")
    torch.save(state, trainer.run.state)
    assert run_tool("train", ["--resume", str(trainer.run.folder)]) == 2
    line = capfd.readouterr().err
    assert line.startswith(f"error: {trainer.run.state}: ")
    assert line.count("\n") == 1


def test_a_full_disk(start: Start, resume: Start, tmp_path: Path, capfd):
    trainer = start("run", epochs=1)
    trainer.fit()
    size = trainer.run.state.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        code = run_tool("train", ["--resume", str(trainer.run.folder), "--epochs", "2"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    line = capfd.readouterr().err
    assert line == f"error: {trainer.run.state}: cannot be written: File too large\n"
    assert not list(trainer.run.folder.glob(".*"))
    assert load(trainer.run.last).names == ("red", "green")
    again = resume("run")
    assert (again.progress.epoch, again.settings.epochs) == (1, 2)
    assert again.fit().epoch == 2
