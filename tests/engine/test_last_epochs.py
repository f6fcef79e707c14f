"""The average of the last epochs, and when it becomes the best."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from detector.cli import run_tool
from detector.engine.callbacks import Callback
from detector.engine.last_epochs import LastEpochs
from detector.engine.norm_statistics import fitted_batches
from detector.engine.trainer import Trainer
from detector.evaluation.coco import CocoMetrics
from detector.model.detector import build
from detector.weights.checkpoint import load, load_training_state, read_metadata
from tests.engine.conftest import digest


class AfterEpoch(Callback):
    """Keeps the network's weights of each epoch."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.kept: list[dict[str, torch.Tensor]] = []

    def on_epoch(self, epoch: object) -> None:
        state = self.trainer.state.raw_model.state_dict()
        self.kept.append({name: tensor.clone() for name, tensor in state.items()})


def test_the_mean_of_the_weights_after_the_last_epochs(start) -> None:
    trainer = start("run", average_last=2)
    keeper = AfterEpoch(trainer)
    trainer.callbacks.append(keeper)
    trainer.fit()
    averaged = load(trainer.run.averaged).state_dict()
    parameters = dict(trainer.state.raw_model.named_parameters())
    assert len(keeper.kept) == 3
    for name in parameters:
        mean = (keeper.kept[1][name] + keeper.kept[2][name]) / 2
        torch.testing.assert_close(averaged[name], mean, rtol=1e-6, atol=1e-7)
    assert read_metadata(trainer.run.averaged).training["averaged_epochs"] == 2


def test_statistics_are_those_of_the_training_images(start) -> None:
    trainer = start("run", average_last=2)
    trainer.fit()
    model = load(trainer.run.averaged)
    (images,) = fitted_batches(model, trainer.datasets[0], 8)
    first = model.rows[0]
    found = first.conv(images)
    torch.testing.assert_close(first.bn.running_mean, found.mean((0, 2, 3)).detach())


def test_frozen_rows_keep_their_statistics(start) -> None:
    trainer = start("run", average_last=2, freeze=2)
    trainer.fit()
    own, averaged = trainer.state.raw_model.state_dict(), load(trainer.run.averaged).state_dict()
    for name, tensor in averaged.items():
        frozen = name.startswith(("rows.0.", "rows.1."))
        assert not frozen or torch.equal(tensor, own[name]), name
    assert not torch.equal(averaged["rows.3.bn.running_mean"], own["rows.3.bn.running_mean"])


def test_the_run_itself_is_not_changed(start) -> None:
    plain, averaging = start("plain"), start("averaging", average_last=2)
    plain.fit()
    averaging.fit()
    assert digest(plain) == digest(averaging)
    assert not plain.run.averaged.exists()


def measured(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, average: float) -> None:
    """Let an average measure so much, and any epoch 0.5."""

    def validate(model: object = None) -> CocoMetrics:
        value = 0.5 if model is None else average
        names = trainer.evaluator.metrics
        return CocoMetrics(dict.fromkeys(names, value), {"red": value})

    monkeypatch.setattr(trainer, "validate", validate)


def test_better(start, resume, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    caplog.set_level("INFO", "detector")
    trainer = start("run", average_last=2)
    measured(trainer, monkeypatch, 0.6)
    progress = trainer.fit()
    line = "average of 2 last epochs: AP 0.6000, better than 0.5000 of epoch 3: it is the best"
    assert line in caplog.messages
    assert (progress.best, progress.best_epoch, progress.averaged["AP"]) == (0.6, 3, 0.6)
    best, averaged = (load(path).state_dict() for path in (trainer.run.best, trainer.run.averaged))
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in best.items())
    state = load_training_state(trainer.run.state)["progress"]
    assert (state["average_epoch"], state["averaged"]["AP"]) == (3, 0.6)
    # A finished run has nothing to do.
    again = resume("run")
    monkeypatch.setattr(again, "validate", None)
    assert again.fit().best == 0.6


def test_a_later_epoch_that_is_better_still(start, resume, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start("run", average_last=2, val_interval=1)
    measured(trainer, monkeypatch, 0.4)
    assert trainer.fit().averaged == {}
    longer = resume("run", epochs=5)
    assert longer.last_epochs.count == 0  # its last epochs are others
    measured(longer, monkeypatch, 0.7)
    progress = longer.fit()
    assert (longer.last_epochs.count, progress.best_epoch, progress.best) == (2, 5, 0.7)


def test_not_better(start, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    caplog.set_level("INFO", "detector")
    trainer = start("run", average_last=10)
    measured(trainer, monkeypatch, 0.5)
    progress = trainer.fit()
    line = "average of 3 last epochs: AP 0.5000, not better than 0.5000 of epoch 3"
    assert line in caplog.messages
    assert progress.averaged == {}
    best, last = (load(path).state_dict() for path in (trainer.run.best, trainer.run.last))
    assert all(torch.equal(tensor, last[name]) for name, tensor in best.items())


def test_a_run_that_stops_before_them(start, caplog) -> None:
    caplog.set_level("INFO", "detector")
    trainer = start("run", epochs=6, average_last=1, val_interval=1, patience=1, learning_rate=1e-9)
    trainer.fit()
    assert trainer.progress.epoch < 6
    assert "average of 0 last epochs: the training has stopped before them" in caplog.messages
    assert not trainer.run.averaged.exists()


def test_resumed_within_them(start, resume) -> None:
    whole = start("whole", average_last=3)
    whole.fit()
    cut = start("cut", average_last=3)
    for _ in range(2):
        for _ in cut.train_epoch():
            pass
        cut.end_epoch()
    again = resume("cut")
    assert again.last_epochs.count == 2
    again.fit()
    files = [load(trainer.run.averaged).state_dict() for trainer in (whole, again)]
    assert all(torch.equal(tensor, files[1][name]) for name, tensor in files[0].items())


def test_of_no_epoch_yet(tiny_cfg: Path) -> None:
    last = LastEpochs(build(tiny_cfg), torch.device("cpu"), first=2, frozen=0)
    last.add(build(tiny_cfg), 1)
    assert last.count == 0


def test_the_tool_says_which_weights_are_the_best(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    validate = Trainer.validate

    def favour(self: Trainer, model: object = None) -> CocoMetrics:
        metrics = validate(self, model)
        value = 0.2 if model is None else 0.9
        return CocoMetrics(dict.fromkeys(metrics.summary, value), metrics.per_class)

    monkeypatch.setattr(Trainer, "validate", favour)
    words = ["--cfg", tiny_cfg, "--data", tiny_data, "--project", tmp_path, "--name", "run"]
    words += ["--epochs", "2", "--average-last", "2", "--no-pictures", "--device", "cpu"]
    words += ["--json", tmp_path / "out.json"]
    assert run_tool("train", [str(word) for word in words]) == 0
    out = capsys.readouterr().out.splitlines()
    best = tmp_path / "run" / "best.safetensors"
    line = f"best AP 0.9000, AP50 0.9000 of the average of the last epochs to 2: {best}"
    assert line in out
    found = json.loads((tmp_path / "out.json").read_text())["best"]
    assert (found["epoch"], found["AP"]) == (2, 0.9)
