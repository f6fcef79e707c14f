"""Cross-validation: what is measured, what is trained again after a stop, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.cli import run_tool
from detector.data.dataset import open_dataset
from detector.engine import cross_validation
from detector.engine.cross_validation import CrossValidation, run_folds
from detector.engine.head_settings import train_settings
from detector.evaluation.evaluation_set import evaluation_set_of
from detector.utils.errors import DetectorError, Interrupted
from tests.engine.conftest import FEW

FAST = FEW | {"mosaic": 0.0, "pictures": False, "folds": 2}


@pytest.fixture
def run(tiny_cfg: Path, tiny_data: Path, tmp_path: Path, no_plot: None) -> Callable[..., Any]:
    def run(name: str, **values: object) -> CrossValidation:
        where = {"cfg": str(tiny_cfg), "data": str(tiny_data), "project": tmp_path, "name": name}
        return run_folds(train_settings(**(where | FAST | values)))

    return run


@pytest.mark.usefixtures("no_plot")
def test_all_images_are_measured_once(run, tiny_data: Path):
    """The metrics of all images are those of the folds' predictions together."""
    result = run("a")
    dataset = open_dataset(tiny_data, "train")
    predictions = json.loads(result.predictions.read_text())
    whole = evaluation_set_of(dataset, str(tiny_data))
    whole.evaluator.results = [one for fold in result.folds for one in fold.predictions]
    assert whole.evaluator.compute().summary == result.metrics.summary
    assert {one["file_name"] for one in predictions} == {s.path.name for s in dataset.samples}
    assert [fold.images for fold in result.folds] == [4, 4]
    first, second = (fold.metrics["AP"] for fold in result.folds)
    mean, deviation = result.mean_and_deviation("AP")
    assert mean == pytest.approx((first + second) / 2)
    assert deviation == pytest.approx(abs(first - second) / 2**0.5)  # of two values
    low, high = result.metrics.intervals["AP"] or (-1, -1)
    assert 0 <= low <= high <= 1


def test_a_fold_is_an_ordinary_run_that_leaves_images_out(run, tmp_path: Path, capsys):
    result = run("a")
    assert result.folds[0].weights == tmp_path / "a/fold1/best.safetensors"
    text = (tmp_path / "a/fold2/settings.yaml").read_text()
    assert "folds: 2\nfold: 2\n" in text
    images = [set(), set()]
    for number, fold in enumerate(result.folds):
        images[number] = {one["image_id"] for one in fold.predictions}
    assert not images[0] & images[1]


def test_a_stop_costs_nothing(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Folds that are done are not trained again; the result is that of one go."""
    expected = run("a")
    trained: list[Any] = []
    original = cross_validation.run_training

    def stopped(settings: Any) -> Any:
        if len(trained) == 1:
            raise Interrupted("stopped", 15)
        trained.append(settings.fold)
        return original(settings)

    monkeypatch.setattr(cross_validation, "run_training", stopped)
    with pytest.raises(Interrupted) as caught:
        run("b")
    folder = tmp_path / "b"
    assert str(caught.value) == (
        f"stopped in fold 2; resume with: detector train --resume {folder}"
    )
    trained.clear()
    monkeypatch.setattr(cross_validation, "run_training", original)
    found = run_folds(train_settings(resume=str(folder)))
    assert found.metrics.to_dict() == expected.metrics.to_dict()
    again = run("b")  # the same command does the same
    assert again.metrics.to_dict() == expected.metrics.to_dict()


def test_a_fold_that_was_stopped_is_resumed(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    original = cross_validation.run_training
    monkeypatch.setattr(
        cross_validation, "run_training", lambda one: (asked.append(one), original(one))[1]
    )
    run("a")
    (tmp_path / "a/fold2/held_out.json").unlink()
    run("a")
    assert [one.resume for one in asked] == [None, None, str(tmp_path / "a/fold2")]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fold": 1, "folds": None}, "fold: has no effect without folds, found 1"),
        ({"fold": 3}, "fold: expected at most 2, as many as folds, found 3"),
        ({"folds": 1}, "folds: expected at least 2, found 1"),
        ({"folds": 9}, "--folds 9: split 'train' has 8 images, expected as many as folds at least"),
    ],
)
def test_wrong_folds(run, tmp_path: Path, values: dict[str, Any], message: str):
    with pytest.raises(DetectorError) as caught:
        run("a", **values)
    assert str(caught.value) == message
    assert not (tmp_path / "a").exists()


def test_a_folder_of_other_settings(run, tmp_path: Path):
    run("a")
    with pytest.raises(DetectorError) as caught:
        run("a", seed=1)
    assert str(caught.value) == (
        f"{tmp_path / 'a'}: holds folds of other settings; choose another --name, or go on: "
        f"--resume {tmp_path / 'a'}"
    )


@pytest.mark.usefixtures("no_plot")
def test_the_command(tiny_cfg: Path, tiny_data: Path, tmp_path: Path, capsys):
    flags = ["--cfg", tiny_cfg, "--data", tiny_data, "--project", tmp_path, "--name", "a"]
    flags += ["--folds", 2, "--epochs", 1, "--batch", 4, "--device", "cpu", "--no-pictures"]
    assert run_tool("train", [*map(str, flags), "--json", str(tmp_path / "a.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-8].split() == ["held", "out", "images", "AP", "AP50"]
    firsts = [line.split("  ")[0] for line in lines[-6:]]
    assert firsts[:5] == ["1", "2", "mean ± deviation", "all images", "95 % interval"]
    assert firsts[5].endswith(f"that has not seen it: {tmp_path / 'a/out_of_fold.json'}")
    content = json.loads((tmp_path / "a.json").read_text())
    assert len(content["folds"]) == 2
    assert content["out_of_fold"]["bootstrap"]["resamples"] == 1000
