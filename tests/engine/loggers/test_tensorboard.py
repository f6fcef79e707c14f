"""What TensorBoard would show is what the training said."""

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detector.engine.callbacks import Step
from detector.engine.loggers.logger import RunIdentity
from detector.engine.loggers.tensorboard import TensorBoard, epochs_held
from detector.utils.opencv import write_image


def opened(folder: Path, step: int) -> TensorBoard:
    board = TensorBoard()
    board.open(RunIdentity("1", folder, {}), step)
    return board


def test_scalars(tmp_path: Path):
    board = opened(tmp_path, 0)
    for number, loss in ((1, 0.5), (2, 0.25)):
        board.log_step(Step(number, 1, number, [], {"loss_box": loss}, 0.125))
    board.log_epoch(1, {"AP": 0.75})
    board.close(True)
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
    for done, steps in ((0, (1, 2, 3)), (1, (2, 3, 4))):
        board = opened(tmp_path, done)
        for number in steps:
            board.log_step(Step(number, 1, number, [], {"loss_box": 0.5}, 0.125))
        board.close(False)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss_box")
    assert [event.step for event in events] == [1, 2, 3, 4]


def test_which_epochs_are_held(tmp_path: Path):
    assert epochs_held(tmp_path) == set()
    board = opened(tmp_path, 0)
    for epoch in range(1, 3):
        board.log_step(Step(epoch, epoch, 1, [], {"loss_box": 0.5}, 0.125))
        board.log_epoch(epoch, {"AP": 0.5} if epoch == 2 else {"seconds": 1.0})
    board.close(False)
    again = opened(tmp_path, 2)
    assert again.holds("AP", 2)
    assert not again.holds("AP", 1)
    assert again.holds("seconds", 1)
    assert not again.holds("loss_box", 1)
    again.close(True)


def test_a_picture(tmp_path: Path):
    write_image(tmp_path / "val_best.png", np.full((4, 6, 3), (200, 0, 0), np.uint8))
    board = opened(tmp_path, 0)
    board.log_pictures(3, [tmp_path / "val_best.png"])
    board.close(True)
    (image,) = EventAccumulator(str(tmp_path)).Reload().Images("pictures/val_best")
    assert (image.step, image.width, image.height) == (3, 6, 4)
