"""What TensorBoard would show is what the training said."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from detector.engine.callbacks import Epoch, Step
from detector.engine.tensorboard import TensorBoard
from detector.utils.errors import DetectorError


def test_scalars(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard()
    board.on_start(SimpleNamespace(folder=tmp_path, step=0))
    for number, loss in ((1, 0.5), (2, 0.25)):
        board.on_step(Step(number, 1, number, [], {"loss_box": loss}, 0.125))
    board.on_epoch(Epoch({"epoch": 1, "AP": 0.75}, [], 0.75, 1, []))
    board.on_end([])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["scalars"]) == [
        "epoch/AP",
        "train/learning_rate",
        "train/loss_box",
    ]
    assert [(e.step, e.value) for e in events.Scalars("train/loss_box")] == [(1, 0.5), (2, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("epoch/AP")] == [(1, 0.75)]


def test_steps_that_are_done_again_are_shown_once(tmp_path: Path):
    """A run is killed after its third step, and goes on from its first."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for done, steps in ((0, (1, 2, 3)), (1, (2, 3, 4))):
        board = TensorBoard()
        board.on_start(SimpleNamespace(folder=tmp_path, step=done))
        for number in steps:
            board.on_step(Step(number, 1, number, [], {"loss_box": 0.5}, 0.125))
        board.on_end([])
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss_box")
    assert [event.step for event in events] == [1, 2, 3, 4]


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DetectorError, match="--tensorboard needs tensorboard .*pip install"):
        TensorBoard()
