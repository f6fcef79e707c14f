"""``--preset auto`` from weights and images to a run: what is said, written, and left alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from detector.engine import cross_validation, setup
from detector.engine.auto import batch, choose, trial
from detector.engine.auto.batch import BatchChoice, Step
from detector.engine.auto.facts import facts_of
from detector.engine.cross_validation import run_folds
from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare
from detector.engine.trainer import Trainer
from detector.engine.tuning.run import run_tuning
from detector.settings.tune import SearchSettings
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image
from detector.weights.checkpoint import save_weights
from tests.engine.conftest import TINY_SSD, digest

TINY_CLASSIFIER = """
imgsz: 32
activation: ReLU
preprocess: {mode: crop}
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, RepVGGBlock, [16, 3, 2]]
head:
  - [[1, 0], 1, Classify, [nc]]
"""

FEW = {"epochs": 2, "device": "cpu", "val_interval": 2, "pictures": False}


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work on the machine must not decide on the batch."""
    monkeypatch.setattr(batch, "SLOWER", 0.0)


@pytest.fixture(scope="module")
def start_weights(tiny_cfg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the tiny network, of 64 px and strides 8 and 16."""
    from detector.model.detector import build

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_weights(path, build(tiny_cfg, classes=("red", "green")))
    return path


@pytest.fixture
def start(
    start_weights: Path, tiny_data: Path, tmp_path: Path, no_plot: None
) -> Callable[..., Trainer]:
    """A function that prepares a new run from weights."""

    def start(name: str, **values: Any) -> Trainer:
        where = {"weights": start_weights, "data": str(tiny_data), "project": tmp_path}
        return prepare(train_settings(**(where | FEW | {"name": name} | values)))

    return start


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """A function that returns the lines logged so far."""
    caplog.set_level("INFO", "detector")
    return lambda: "\n".join(caplog.messages).splitlines()


def test_a_larger_input_at_the_end(start, said, monkeypatch: pytest.MonkeyPatch):
    """The batch is measured at the larger size, which the trained network then has."""
    sizes = []
    measure = choose.measure_batch

    def watched(settings: Any, make_model: Any, *others: Any) -> Any:
        sizes.append(make_model().preprocess.size_hw)
        return measure(settings, make_model, *others)

    monkeypatch.setattr(choose, "measure_batch", watched)
    trainer = start("a", imgsz=64, final_imgsz=96, final_epochs=1)
    assert sizes == [(96, 96)]
    assert trainer.state.raw_model.preprocess.size_hw == (96, 96)
    assert (trainer.settings.imgsz, trainer.resize.size_hw) == (64, (64, 64))


def test_a_teacher_is_not_measured(start, said, start_weights: Path):
    start("a", teacher=start_weights)
    words = " ".join(said()).split()  # the table folds long reasons
    assert "; without the teacher" in " ".join(words)


def test_it_is_the_default_with_weights(start, said, tmp_path: Path):
    """8 images of 64 px with squares of 32: half an input, so that 64 px show 32, two cells of 16.

    Two cells of the finest features, 8 px, are 16: an input of 32 would do, half of the stored 64.
    """
    trainer = start("a", learning_rate=0.02)
    lines = said()
    at = lines.index("preset auto: train/finetune, trained weights, 8 images, fewer than 10000")
    head, rule, *rows = lines[at + 1 : at + 15]
    assert head.split() == ["setting", "value", "why"]
    table = {row.split()[0]: " ".join(row.split()[1:]) for row in rows if row[:1].isalpha()}
    assert table["imgsz"].startswith("32 the median object has 32 px in images of 64×64, here 16")
    assert table["nominal_batch"] == (
        "8 1 step an epoch; 16 of finetune.yaml would make 1, fewer than 8"
    )
    assert table["batch"].startswith("8 measured: ")
    assert table["epochs"] == "2 given"
    assert table["learning_rate"] == "0.02 given"
    assert table["mosaic"] == "0.6 finetune.yaml"
    settings = trainer.settings
    assert (settings.preset, settings.imgsz, settings.batch) == ("auto", 32, 8)
    assert trainer.state.raw_model.preprocess.size_hw == (32, 32)
    preset = tmp_path / "a" / "preset.yaml"
    assert f"preset auto: the same training again: --preset {preset}" in lines
    values = yaml.safe_load(preset.read_text())
    assert (values["mosaic"], values["learning_rate"], values["epochs"]) == (0.6, 0.02, 2)
    assert not values.keys() & {"preset", "project", "name", "device", "minutes"}


def test_the_written_preset_gives_the_same_training(start, tmp_path: Path):
    """To the last bit: trial steps change neither weights, nor statistics, nor random numbers."""
    chosen = start("auto")
    chosen.fit()
    again = start("again", preset=str(tmp_path / "auto" / "preset.yaml"))
    again.fit()
    assert digest(again) == digest(chosen)
    names = ("imgsz", "batch", "nominal_batch", "learning_rate", "warmup_epochs", "ema_decay")
    names += ("ema_warmup", "mosaic", "close_mixing", "scale")
    written = {name: getattr(chosen.settings, name) for name in names}
    flags = start("flags", preset="none", **written)
    flags.fit()
    assert digest(flags) == digest(chosen)


def test_plain_defaults(start, said):
    settings = start("a", preset="none").settings
    assert (settings.preset, settings.batch, settings.mosaic, settings.imgsz) == (
        *("none", 16, 1.0),
        64,
    )
    assert not [line for line in said() if line.startswith("preset")]


def test_without_weights_it_must_be_asked_for(tiny_cfg: Path, start, said):
    assert start("a", weights=None, cfg=str(tiny_cfg)).settings.preset == "none"
    trainer = start("b", weights=None, cfg=str(tiny_cfg), preset="auto")
    assert trainer.settings.learning_rate == 0.02
    assert "preset auto: train/scratch, random weights, 8 images, fewer than 10000" in said()


def test_heads_of_other_kinds(
    start, said, tiny_data: Path, tmp_path: Path, rng: np.random.Generator
):
    """SSD's settings are those of its preset; a classifier keeps its input."""
    from detector.model.detector import build

    ssd = tmp_path / "ssd.yaml"
    ssd.write_text(TINY_SSD)
    save_weights(tmp_path / "ssd.safetensors", build(ssd, classes=("red", "green")))
    settings = start("ssd", weights=tmp_path / "ssd.safetensors").settings
    assert (settings.learning_rate, settings.nominal_batch, settings.imgsz) == (0.001, 8, 64)
    assert "preset auto: train/ssd, the one for the network's head" in said()

    classifier = tmp_path / "classifier.yaml"
    classifier.write_text(TINY_CLASSIFIER)
    save_weights(tmp_path / "c.safetensors", build(classifier, classes=("red", "green")))
    for split, name, number in itertools.product(("train", "val"), ("red", "green"), range(9)):
        image = rng.integers(0, 255, (40, 56, 3)).astype(np.uint8)
        write_image(tmp_path / "colors" / split / name / f"{number}.png", image)
    few = {"weights": tmp_path / "c.safetensors", "data": str(tmp_path / "colors")}
    settings = start("classifier", **few).settings
    assert (settings.learning_rate, settings.batch, settings.imgsz) == (0.01, 8, 32)
    rows = [" ".join(line.split()) for line in said()]
    assert "imgsz 32 that of the start weights" in rows


def test_a_resumed_run_keeps_what_was_chosen(start, tmp_path: Path, monkeypatch):
    expected = start("a")
    expected.fit()

    def refuse(*_: Any) -> None:
        raise AssertionError("chosen twice")

    monkeypatch.setattr(setup, "choose_settings", refuse)
    resumed = prepare(train_settings(resume=str(tmp_path / "a"), epochs=3))
    assert resumed.settings.batch == expected.settings.batch
    assert resumed.settings.epochs == 3
    resumed.fit()
    assert resumed.progress.epoch == 3


def test_time_in_place_of_epochs(start, tmp_path: Path, monkeypatch):
    """The file has the epochs that fitted, so that it gives the same run on a faster machine."""
    monkeypatch.setattr(
        setup, "within_minutes", lambda s, *_: (s.model_copy(update={"epochs": 7}), "7 fit")
    )
    few = {name: value for name, value in FEW.items() if name != "epochs"}
    monkeypatch.setattr("tests.engine.auto.test_run.FEW", few)
    trainer = start("a", minutes=5)
    assert trainer.settings.epochs == 7
    values = yaml.safe_load((tmp_path / "a" / "preset.yaml").read_text())
    assert values["epochs"] == 7
    assert "minutes" not in values


def test_trial_steps_leave_no_trace(start):
    trainer = start("a", preset="none")
    model, accelerator = trainer.state.raw_model, trainer.accelerator
    before = {name: value.clone() for name, value in model.state_dict().items()}
    draws = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())
    found = choose.choose_settings(
        choose.Start(trainer.settings, model, trainer.datasets[0], accelerator, lambda one: one), {}
    )
    assert found[0].batch == 8
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.preprocess.size_hw == (64, 64)
    assert torch.equal(torch.get_rng_state(), draws[0])
    assert random.getstate() == draws[1]
    assert (np.random.get_state()[1] == draws[2]).all()


def test_a_step_is_measured(start):
    trainer = start("a", preset="none", multi_scale=0.5)
    measured = trial.Trial(
        trainer.settings, trainer.state.raw_model, trainer.datasets[0], trainer.accelerator
    )
    step = measured.measure(4)
    assert step is not None
    assert step.images == 4
    assert step.seconds > 0
    assert step.bytes >= 0
    assert measured._batch(4).images.shape == (4, 3, 96, 96)  # 64 · 1.5
    assert 0 < measured.budget < trial.memory_budget(torch.device("cpu")) * 2


def test_memory_that_is_too_small_for_a_step(start, monkeypatch):
    """Errors of torch's allocators count as too large; others are errors."""
    trainer = start("a", preset="none")
    measured = trial.Trial(
        trainer.settings, trainer.state.raw_model, trainer.datasets[0], trainer.accelerator
    )

    def fails(error: Exception) -> None:
        def raise_error(_: Any) -> float:
            raise error

        monkeypatch.setattr(measured, "_step", raise_error)

    fails(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert measured.measure(2) is None
    fails(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert measured.measure(2) is None
    fails(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        measured.measure(2)


def test_a_smaller_input_where_memory_is_too_small(start, said, monkeypatch):
    tried: list[tuple[int, int]] = []

    def measure(settings: Any, make_model: Any, *_: Any) -> tuple[BatchChoice | None, int]:
        tried.append(make_model().preprocess.size_hw)
        fits = tried[-1] == (32, 32)
        return (BatchChoice(Step(4, 10**9, 0.5), "8 take more") if fits else None), 2 * 10**9

    monkeypatch.setattr(choose, "measure_batch", measure)
    monkeypatch.setattr("detector.engine.auto.rules.CELLS", 4)  # an input of 64 px
    settings = start("a").settings
    assert tried == [(64, 64), (48, 48), (32, 32)]
    assert (settings.imgsz, settings.batch) == (32, 4)
    rows = [" ".join(line.split()) for line in said()]
    assert "imgsz 32 64 does not fit into memory" in rows
    (row,) = [row for row in rows if row.startswith("batch ")]
    assert row.startswith("batch 4 measured: 8.0 images/s, 1.0 GB of 2.0 GB, 50% of the free ")
    with pytest.raises(DetectorError) as caught:
        start("b", imgsz=64)
    assert str(caught.value) == (
        "--preset auto: a step with one image of 64 px does not fit into 2.0 GB, 50% of the free "
        "memory; give a smaller --imgsz, or --batch, which is not measured"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("autoo", "autoo: no such file; did you mean 'auto'?"),
        ("Auto", "Auto: no such file; did you mean 'auto'?"),
        ("nonee", "nonee: no such file; did you mean 'none'?"),
        ("finetune", "finetune: no such file; did you mean 'train/finetune'?"),
    ],
)
def test_wrong_names(start, name: str, message: str):
    with pytest.raises(DetectorError) as caught:
        start("a", preset=name)
    assert str(caught.value) == message


@pytest.mark.usefixtures("no_plot")
def test_folds_share_one_choice(start_weights: Path, tiny_data: Path, tmp_path: Path, monkeypatch):
    chosen: list[int] = []
    original = setup.choose_settings
    monkeypatch.setattr(
        setup, "choose_settings", lambda *asked: (chosen.append(1), original(*asked))[1]
    )
    where = {"weights": start_weights, "data": str(tiny_data), "project": tmp_path, "name": "a"}
    result = run_folds(train_settings(**(where | FEW | {"folds": 2})))
    assert len(result.folds) == 2
    assert chosen == [1]
    first, second = (
        yaml.safe_load((tmp_path / f"a/fold{number}/settings.yaml").read_text())
        for number in (1, 2)
    )
    assert (first.pop("preset"), first.pop("fold"), first.pop("name")) == ("auto", 1, "fold1")
    assert second.pop("preset") == str(tmp_path / "a/fold1/preset.yaml")
    assert (second.pop("fold"), second.pop("name")) == (2, "fold2")
    assert second == first
    assert "preset: auto" in (tmp_path / "a" / cross_validation.FLAGS_FILE).read_text()


def test_a_search_has_one_choice_for_all_trials(start_weights: Path, tiny_data: Path, tmp_path):
    pytest.importorskip("optuna")
    space = tmp_path / "space.yaml"
    space.write_text("mosaic: {kind: float, low: 0, high: 1}\n")
    settings = train_settings(
        weights=start_weights, data=str(tiny_data), preset="auto", name="a", project=tmp_path
    )
    with pytest.raises(DetectorError) as caught:
        run_tuning(SearchSettings(space=str(space)), settings)
    assert str(caught.value) == (
        "--preset auto chooses for one training, and all trials share their settings: train once "
        "with it, and give the file that it writes, as --preset runs/train/1/preset.yaml"
    )


def test_facts(start):
    """Squares of 32 px in images of 64: half of the side of an input, whatever its size."""
    trainer = start("a", preset="none")
    facts = facts_of(trainer.settings, trainer.state.raw_model, trainer.datasets[0])
    assert facts.objects is not None
    assert (facts.objects.median, facts.objects.small) == (0.5, 0.5)
    assert (facts.objects.median_px, facts.objects.image_wh) == (32, (64, 64))
    assert (facts.images, facts.size_hw, facts.max_stride, facts.cell) == (8, (64, 64), 16, 8)
    assert (facts.is_fixed, facts.tiles, facts.has_weights, facts.recipe) == (
        *(False, None, True),
        None,
    )
