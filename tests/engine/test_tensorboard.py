"""What TensorBoard would show is what the training said."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from detector.engine.callbacks import Epoch, Step
from detector.engine.tensorboard import TensorBoard
from detector.errors import DetectorError


def test_scalars(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard()
    board.on_start(SimpleNamespace(folder=tmp_path))
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


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DetectorError, match="--tensorboard needs tensorboard .*pip install"):
        TensorBoard()
