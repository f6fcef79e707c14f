"""What a program calls first: train, validate, export, save, list_models."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import detector
from detector.engine.callbacks import Epoch, Step
from detector.utils.files import packaged_files

QUICK = {"epochs": 2, "batch": 4, "nominal_batch": 4, "device": "cpu", "pictures": False}


class Listener(detector.Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.epochs: list[int] = []

    def on_step(self, step: Step) -> None:
        self.steps.append(step.number)

    def on_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(int(epoch.record["epoch"]))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def result(tiny_cfg: Path, tiny_data: Path, project: Path, listener: Listener):
    return detector.train(tiny_cfg, tiny_data, callbacks=[listener], project=project, **QUICK)


def test_train(result: detector.TrainingResult, project: Path, listener: Listener):
    assert result.folder == project / "1"
    assert (result.best, result.last) == (
        result.folder / "best.safetensors",
        result.folder / "last.safetensors",
    )
    assert listener.steps == [1, 2, 3, 4]  # 8 images in batches of 4, twice
    assert listener.epochs == [1, 2]
    assert len(result.history) == 2
    assert list(result.metrics)[:2] == ["AP", "AP50"] == list(result.main_metrics)
    assert result.metrics["AP"] == result.history[result.best_epoch - 1]["AP"]
    assert result.model.names == ("red", "green")
    assert not result.model.training
    assert result.model is result.model  # loaded once


def test_going_on_with_a_run(result: detector.TrainingResult):
    longer = detector.train(resume=str(result.folder), epochs=3, device="cpu")
    assert longer.folder == result.folder
    assert [record["epoch"] for record in longer.history] == [1, 2, 3]


def test_validate_without_data(finder: Path):
    with pytest.raises(
        detector.DetectorError, match="^--data is missing, the images to measure on: "
    ):
        detector.validate(finder)


def test_validate(finder: Path, finder_onnx: Path, finder_data: Path):
    """The finder finds every square of its images: AP 1."""
    of_file = detector.validate(finder, finder_data)
    assert of_file.summary["AP"] == pytest.approx(1)
    model = detector.load(finder)
    assert detector.validate(model, finder_data, batch=2).summary == of_file.summary
    of_onnx = detector.validate(finder_onnx, finder_data)
    assert of_onnx.summary["AP"] == pytest.approx(1)
    # Of squares and anchors' boxes with scores around 0.024, none reaches 0.999999.
    assert detector.validate(finder, finder_data, confidence=0.999999).summary["AP"] < 1


def test_export(finder: Path, finder_images: Path, tmp_path: Path):
    model = detector.load(finder)
    before = copy.deepcopy(model.state_dict())
    report = detector.export(model, output=tmp_path / "m")
    assert report.path == tmp_path / "m.onnx"
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    copied = tmp_path / "copy.safetensors"
    detector.save(model, copied)
    beside = detector.export(copied, "pt2", dynamic=True)
    assert beside.path == tmp_path / "copy.pt2"
    image = next(iter(sorted(finder_images.iterdir())))
    found = [detector.Predictor(path).predict(image) for path in (finder, report.path, beside.path)]
    assert [one.class_ids.tolist() for one in found] == [found[0].class_ids.tolist()] * 3


def test_save(finder: Path, tmp_path: Path):
    model = detector.load(finder)
    detector.save(model, tmp_path / "a.safetensors")
    again = detector.load(tmp_path / "a.safetensors").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_list_models():
    models = detector.list_models()
    names = [model.name for model in models]
    assert names == sorted(names)
    assert set(names) == {name for name in packaged_files("cfg") if "/" not in name}
    by_name = {model.name: model for model in models}
    assert by_name["yolov5_repvgg"].variants == ("n", "s", "m", "l")
    assert (by_name["yolov5n"].head, by_name["yolov5n"].task) == ("Detect", "detect")
    assert (by_name["vovnet"].head, by_name["vovnet"].task) == ("Classify", "classify")
    assert by_name["ssd512_vgg16"].imgsz == 512


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (detector.train, "nothing to train: give --cfg FILE or --weights FILE"),
        (
            lambda: detector.train("yolov5n", learning_rat=0.1),
            "unknown key 'learning_rat'; did you mean 'learning_rate'?",
        ),
        (
            lambda: detector.train("yolov5n", lr0=0.1),
            "unknown key 'lr0': use learning_rate",
        ),
        (lambda: detector.train("yolov5n", epochs=0), "epochs: expected at least 1, found 0"),
        (
            lambda: detector.train("ssd300_vgg16", mosaic=0.5),
            "mosaic is a setting of Detect and other heads, and this network's head is SSDHead; "
            "SSDHead has albumentations, fliplr and label_smoothing",
        ),
        (lambda: detector.validate("no.onnx"), "no.onnx: no such file; expected weights"),
        (
            lambda: detector.validate("no.onnx", splt="val"),
            "unknown key 'splt'; did you mean 'split'?",
        ),
        (
            lambda: detector.export("no.safetensors", "onxx"),
            "format: expected 'onnx', 'openvino' or 'pt2', found 'onxx'",
        ),
        (
            lambda: detector.export("no.safetensors"),
            "no.safetensors: no such file; expected weights",
        ),
        (
            lambda: detector.save(3, "a.safetensors"),
            "expected a network of detector.build or load, found 3",
        ),
        (
            lambda: detector.save(detector.build("yolov5n"), "a.onnx"),
            "a.onnx: expected a name that ends in .safetensors",
        ),
        (lambda: detector.deploy(3), "expected a network of detector.build or load, found 3"),
        (lambda: detector.build("yolov5n", variant=3), "variant: expected a name, found 3"),
        (lambda: detector.export(3), "model: expected a path, found 3"),
        (
            lambda: detector.train("yolov5n", callbacks=3),
            "callbacks: expected a list, found 3",
        ),
        (
            lambda: detector.train("yolov5n", callbacks=["x"]),
            "callbacks: expected instances of detector.Callback, found 'x'",
        ),
    ],
)
def test_errors_are_one_line(call: Any, message: str):
    with pytest.raises(detector.DetectorError) as caught:
        call()
    assert str(caught.value) == message


def test_a_network_in_memory_needs_an_output(finder: Path):
    message = "output: a network in memory has no file to write beside; give one"
    with pytest.raises(detector.DetectorError, match=f"^{message}$"):
        detector.export(detector.load(finder))
