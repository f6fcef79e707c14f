"""Each metric of each epoch once, whatever happens to the run or to the logger."""

import csv
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from detector.engine.callbacks import Callback, Start
from detector.engine.loggers.callback import LoggerCallback
from detector.engine.loggers.choose import LOGGERS, check_installed, logger_callbacks
from detector.engine.loggers.logger import Logger, RunIdentity
from detector.engine.loggers.tensorboard import TensorBoard, epochs_held
from detector.engine.trainer import Trainer
from detector.settings.train import TrainSettings
from detector.utils.errors import DetectorError, Interrupted
from detector.utils.yaml_file import YamlFile, validate


class Kept(Logger):
    """A service in memory, which outlives the process."""

    name = "kept"

    def __init__(self, fails: set[int] = frozenset()) -> None:
        self.metrics: list[tuple[str, int]] = []
        self.files: list[str] = []
        self.pictures: list[tuple[int, str]] = []
        self.ids: list[str] = []
        self.closed: list[bool] = []
        self.fails = fails

    def open(self, run: RunIdentity, step: int) -> None:
        self.ids.append(run.id)
        self.settings = run.settings
        self.before = set(self.metrics)

    def holds(self, metric: str, epoch: int) -> bool:
        return (metric, epoch) in self.before

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch in self.fails:
            raise OSError(28, "No space left on device")
        self.metrics += [(name, epoch) for name in metrics]

    def log_pictures(self, epoch: int, paths: Iterable[Path]) -> None:
        self.pictures += [(epoch, path.name) for path in paths]

    def log_files(self, paths: Iterable[Path]) -> None:
        self.files += [path.name for path in paths]

    def close(self, finished: bool) -> None:
        self.closed.append(finished)


def epochs(kept: Kept, metric: str) -> list[int]:
    return [epoch for name, epoch in kept.metrics if name == metric]


def with_logger(trainer: Trainer, logger: Logger) -> Trainer:
    trainer.callbacks.append(LoggerCallback(logger))
    return trainer


def test_an_undisturbed_run(start: Callable[..., Trainer]):
    kept = Kept()
    with_logger(start("a", val_interval=2), kept).fit()
    assert epochs(kept, "learning_rate") == [1, 2, 3]
    assert epochs(kept, "AP") == [2, 3]
    assert "epoch" not in {name for name, _ in kept.metrics}
    assert kept.files == ["settings.yaml", "best.safetensors"]
    assert (1, "train_1.jpg") in kept.pictures
    assert len(set(kept.pictures)) == len(kept.pictures)
    assert kept.closed == [True]
    assert kept.settings["batch"] == 3


def test_a_kill_between_checkpoint_and_logger(
    start: Callable[..., Trainer],
    resume: Callable[..., Trainer],
    fit_until_killed: Callable[[Trainer, int], None],
):
    kept = Kept()
    fit_until_killed(with_logger(start("a"), kept), 2)
    assert epochs(kept, "seconds") == [1]
    with_logger(resume("a"), kept).fit()
    assert epochs(kept, "seconds") == [1, 2, 3]
    assert kept.closed == [False, True]
    assert kept.ids[0] == kept.ids[1]


def test_a_kill_after_the_last_epoch(
    start: Callable[..., Trainer],
    resume: Callable[..., Trainer],
    fit_until_killed: Callable[[Trainer, int], None],
    tmp_path: Path,
):
    """Nothing is left to train, and everything to write; results.csv is no exception."""
    kept = Kept()
    fit_until_killed(with_logger(start("a"), kept), 3)
    assert epochs(kept, "seconds") == [1, 2]
    with_logger(resume("a"), kept).fit()
    assert epochs(kept, "seconds") == [1, 2, 3]
    rows = list(csv.DictReader((tmp_path / "a" / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


@pytest.mark.slow
def test_tensorboard_after_a_kill(
    start: Callable[..., Trainer],
    resume: Callable[..., Trainer],
    fit_until_killed: Callable[[Trainer, int], None],
    tmp_path: Path,
):
    fit_until_killed(start("a", log=("tensorboard", "csv", "tensorboard")), 2)
    assert ("epoch/seconds", 2) not in epochs_held(tmp_path / "a")
    trainer = resume("a")
    boards = [c for c in trainer.callbacks if isinstance(c, LoggerCallback)]
    assert [type(board.target) for board in boards] == [TensorBoard]
    trainer.fit()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "a")).Reload()
    assert [event.step for event in events.Scalars("epoch/seconds")] == [1, 2, 3]
    steps = [event.step for event in events.Scalars("train/learning_rate")]
    assert steps == list(range(1, 10))  # 8 images in batches of 3: 3 steps an epoch


def test_a_logger_that_fails_is_left_out(
    start: Callable[..., Trainer],
    resume: Callable[..., Trainer],
    caplog: pytest.LogCaptureFixture,
):
    kept = Kept(fails={2})
    with caplog.at_level(logging.WARNING):
        with_logger(start("a"), kept).fit()
    lines = [record.message for record in caplog.records if "--log" in record.message]
    assert lines == [
        "--log kept: failed after epoch 2 and is left out from here; the run goes on, and --resume "
        "writes what is missing: OSError: [Errno 28] No space left on device"
    ]
    assert epochs(kept, "seconds") == [1]
    assert kept.closed == [False]
    kept.fails = set()
    with_logger(resume("a"), kept).fit()
    assert epochs(kept, "seconds") == [1, 2, 3]
    assert kept.files[-1] == "best.safetensors"


class Unreachable(Kept):
    name = "far"

    def open(self, run: RunIdentity, step: int) -> None:
        raise ConnectionError("refused\nby the server")


def test_a_logger_that_cannot_be_opened(start: Callable[..., Trainer], tmp_path: Path):
    expected = "--log far: cannot be opened: ConnectionError: refused"
    with pytest.raises(DetectorError) as error:
        with_logger(start("a"), Unreachable()).fit()
    assert str(error.value) == expected
    assert not (tmp_path / "a" / "results.csv").exists()


def test_a_new_run_has_an_id_of_its_own(start: Callable[..., Trainer]):
    """Two runs, and a run in the folder of one that came to no checkpoint."""
    ids = []
    for name in ("a", "b", "b"):
        event, kept = start(name).start(), Kept()
        for _ in range(2):  # two loggers of a run agree
            LoggerCallback(kept).on_start(event)
        assert kept.ids[0] == kept.ids[1]
        ids += kept.ids
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no id of a run: Expecting property name"),
        ("[]", "is no id of a run: list indices"),
        ('{"id": "../x"}', "expected letters and digits as id, found '../x'"),
        ('{"id": 3}', "expected letters and digits as id, found 3"),
    ],
)
def test_a_damaged_id(
    content: str,
    message: str,
    start: Callable[..., Trainer],
    resume: Callable[..., Trainer],
    fit_until_killed: Callable[[Trainer, int], None],
    tmp_path: Path,
):
    fit_until_killed(with_logger(start("a"), Kept()), 1)
    path = tmp_path / "a" / "loggers.json"
    assert json.loads(path.read_text())["id"]
    path.write_text(content)
    with pytest.raises(DetectorError, match="loggers.json: ") as error:
        with_logger(resume("a"), Kept()).fit()
    assert message in str(error.value)


class Closed(Callback):
    def __init__(self) -> None:
        self.count = 0

    def on_start(self, start: Start) -> None:
        raise Interrupted("", 2)

    def close(self) -> None:
        self.count += 1


def test_callbacks_are_closed_after_a_failed_start(start: Callable[..., Trainer]):
    trainer, closed = start("a"), Closed()
    trainer.callbacks.append(closed)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert closed.count == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_is_missing(
    name: str, start: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(DetectorError) as error:
        start("a", log=("tensorboard", name))
    assert str(error.value) == (
        f'--log {name}: {name} is not installed; run: pip install "repdet[{name}]"'
    )
    assert not (tmp_path / "a").exists()


def test_every_name_has_a_logger_or_a_file():
    check_installed(["csv", "tensorboard"])
    assert [type(one.target) for one in logger_callbacks(["csv", "tensorboard"])] == [TensorBoard]
    assert {kind.name for kind, _ in LOGGERS.values()} == set(LOGGERS)


def from_file(text: str) -> TrainSettings:
    return validate(TrainSettings, YamlFile(Path("settings.yaml"), text))


def test_files_of_earlier_versions():
    assert from_file("tensorboard: true").log == ("tensorboard",)
    assert from_file("tensorboard: false").log == ()
    assert from_file("log: [wandb, csv]").log == ("wandb", "csv")
    with pytest.raises(DetectorError, match="tensorboard is an earlier name of log"):
        from_file("{tensorboard: true, log: [wandb]}")
    with pytest.raises(DetectorError, match="unknown key 'tensorboard'"):
        from_file("tensorboard: maybe")
