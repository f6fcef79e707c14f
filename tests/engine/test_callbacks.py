"""What callbacks are told, and the two that are always there."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from detector.engine.callbacks import Epoch, Start, Step, Terminal
from detector.engine.trainer import Trainer
from detector.utils.errors import DetectorError
from tests.engine.conftest import Listener


@pytest.fixture
def told(start: Callable[..., Trainer]):
    def told(**values: object) -> tuple[Trainer, list]:
        trainer, listener = start("run", **values), Listener()
        trainer.callbacks.append(listener)
        trainer.fit()
        return trainer, listener.events

    return told


def test_events(told):
    trainer, events = told(epochs=2, val_interval=2)
    assert [type(event) for event in events] == [
        Start,
        *[Step] * 3,
        Epoch,
        *[Step] * 3,
        Epoch,
        list,
    ]
    begin = events[0]
    assert (begin.folder, begin.monitor, begin.images) == (trainer.run.folder, "AP", 8)
    steps = [event for event in events if isinstance(event, Step)]
    assert [(s.number, s.epoch, s.batches) for s in steps] == [
        (1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 1), (5, 2, 2), (6, 2, 3)
    ]  # fmt: skip
    assert sorted(key for s in steps for key in s.keys) == [
        (e, i, 0) for e in (0, 1) for i in range(8)
    ]
    assert steps[0].learning_rate == pytest.approx(0.02 * 1e-3)
    image = begin.train_set[steps[0].keys[0]].image
    assert image.shape == (64, 64, 3)
    first, second = (event for event in events if isinstance(event, Epoch))
    mean = sum(s.losses["loss_box"] for s in steps[:3]) / 3
    assert first.record["loss_box"] == pytest.approx(mean)
    assert first.record["learning_rate"] == steps[2].learning_rate
    assert second.record["learning_rate"] == steps[5].learning_rate
    assert "AP" not in first.record
    assert (list(first.results), first.best_epoch) == ([], 0)
    assert second.best_epoch == 2
    assert second.best == second.record["AP"]
    assert events[-1] == trainer.progress.history == second.history
    assert [record["epoch"] for record in events[-1]] == [1, 2]


def test_early_stopping(told, caplog):
    """The learning rate is too small for anything to become better after epoch 2."""
    caplog.set_level("INFO", "detector")
    trainer, events = told(epochs=20, learning_rate=1e-9, val_interval=2, patience=3)
    # Best in 2; waited 2 epochs at 4, and 4, which is 3 or more, at 6.
    assert trainer.progress.best_epoch == 2
    assert [e.record["epoch"] for e in events if isinstance(e, Epoch)] == [1, 2, 3, 4, 5, 6]
    assert caplog.messages[-1] == "no better AP for 3 epochs: stopped"
    rows = list(csv.DictReader(trainer.run.results.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]


def test_the_time_that_is_left_after_a_resumption(told):
    """Two epochs of 100 s on a busy machine, then one of 1 s: seven more take 7 s."""
    begin = told(epochs=1)[1][0]
    records = [{"epoch": number, "seconds": s} for number, s in enumerate((100, 100, 1), 1)]
    settings = begin.settings.model_copy(update={"epochs": 10})
    terminal = Terminal()
    terminal.on_start(replace(begin, settings=settings, history=records[:2]))
    assert ", 0:00:07 left, " in terminal.described(Epoch(records[2], records, 0, 0, []))


def test_a_figure_of_one_s_own(told, caplog):
    caplog.set_level("INFO", "detector")
    trainer, _ = told(epochs=1, monitor="AR100")
    assert trainer.progress.best == trainer.progress.history[0]["AR100"]
    assert "(best AR100 " in caplog.text


def test_an_unknown_metric(start: Callable[..., Trainer]):
    with pytest.raises(
        DetectorError, match=r"^--monitor ar10: no such metric; did you mean 'AR10'"
    ):
        start("run", monitor="ar10")


def test_a_figure_without_truth(start: Callable[..., Trainer]):
    """COCO's large boxes have more than 96×96 pixels."""
    with pytest.raises(
        DetectorError, match=r"^--monitor APl: split 'val' has nothing to measure it on$"
    ):
        start("run", monitor="APl", val_interval=1).fit()


@pytest.mark.parametrize(
    ("metrics", "best_epoch"),
    [
        ((0.0, 0.0, 0.0), 3),  # of networks that find nothing the last one; patience does not end
        ((0.0, 0.5, 0.0), 2),  # one that finds nothing any more is no better
        ((0.5, 0.5, 0.4), 1),
    ],
)
def test_the_best_epoch(
    start: Callable[..., Trainer],
    monkeypatch: pytest.MonkeyPatch,
    metrics: Sequence[float],
    best_epoch: int,
):
    patience = 2 if any(metrics) else 1
    trainer = start("run", epochs=3, val_interval=1, patience=patience)
    found = iter(metrics)

    def validate() -> SimpleNamespace:
        summary = dict.fromkeys(trainer.evaluator.metrics, next(found))
        return SimpleNamespace(summary=summary, to_dict=dict)

    monkeypatch.setattr(trainer, "validate", validate)
    trainer.fit()
    assert (trainer.progress.best, trainer.progress.best_epoch) == (max(metrics), best_epoch)
