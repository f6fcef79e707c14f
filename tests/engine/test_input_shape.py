"""Inputs that are not square, in training, validation, detection and export."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import detector
from detector.cli import run_tool
from detector.data.dataset import open_dataset
from detector.engine.head_settings import settings_class
from detector.engine.multi_scale import MultiScale
from detector.engine.small_objects import small_objects
from detector.engine.tasks import task_of
from detector.engine.trainer import Trainer
from detector.heads.yolo import Detect
from detector.model.detector import build
from detector.predict import Predictor
from detector.settings.train import TrainSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError, Interrupted
from detector.utils.opencv import write_image
from detector.weights.checkpoint import load
from tests.engine.conftest import AfterStep, digest

Start = Callable[..., Trainer]
SETTINGS = settings_class(Detect)(multi_scale=0.5)


@pytest.mark.parametrize("value", ["64,96", [64, 96], (64, 96)])
def test_height_comes_first(value: Any) -> None:
    assert TrainSettings(imgsz=value).imgsz == (64, 96)


def test_equal_sides_are_a_square() -> None:
    assert TrainSettings(imgsz="96,96").imgsz == TrainSettings(imgsz="96").imgsz == 96


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "imgsz: expected a whole number, found ''"),
        ("64,96,3", "imgsz: expected one side, or HEIGHT,WIDTH, found '64,96,3'"),
        ("64x96", "imgsz: expected a whole number, found '64x96'"),
        ("64,8", "imgsz: expected at least 32, found '64,8'"),
        ([64, 9000], "imgsz: expected at most 8192, found [64, 9000]"),
        ([], "imgsz: expected one side, or HEIGHT,WIDTH, found []"),
    ],
)
def test_values_that_are_no_size(value: Any, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        TrainSettings(imgsz=value)
    assert str(caught.value) == message


def test_a_side_that_the_stride_does_not_divide(start: Start) -> None:
    with pytest.raises(DetectorError) as caught:
        start("run", imgsz="64,100")
    assert str(caught.value) == (
        "imgsz 64,100 is not a multiple of the network's stride 16; the nearest is 64,96"
    )


ALL = {"mosaic": 0.5, "mixup": 0.5, "copy_paste": 0.5, "multi_scale": 0.5, "degrees": 20.0}


@pytest.mark.parametrize("values", [{}, {"augment": False}, ALL])
def test_a_run(start: Start, tmp_path: Path, values: dict[str, Any]) -> None:
    trainer = start("run", imgsz="64,96", epochs=1, **values)
    shapes = {tuple(batch.images.shape[1:]) for batch in trainer.loader}
    assert shapes == {(3, 64, 96)}  # multi-scale resizes on the device, later
    trainer.fit()
    written = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert written["imgsz"] == [64, 96]
    assert load(tmp_path / "run" / "best.safetensors").preprocess.size_hw == (64, 96)


def test_resume(start: Start, resume: Start) -> None:
    """A run that is stopped after 4 of 9 steps gives the same weights."""
    whole, cut = (start(name, imgsz="64,96", save_minutes=0) for name in ("whole", "cut"))
    whole.fit()
    cut.callbacks.append(AfterStep(lambda: os.kill(os.getpid(), signal.SIGINT), 4))
    with pytest.raises(Interrupted):
        cut.fit()
    with pytest.raises(DetectorError) as caught:
        resume("cut", imgsz="96,64")
    assert str(caught.value) == (
        "--imgsz 96,64 does not go with --resume: the run was started with 64,96"
    )
    again = resume("cut", imgsz="64,96")
    again.fit()
    assert digest(again) == digest(whole)


def test_multi_scale_keeps_the_shape(start: Start) -> None:
    """64 · s and 96 · s, each rounded to multiples of 16."""
    resize = task_of(Detect).resize(start("run", imgsz="64,96").state.raw_model, SETTINGS)
    assert isinstance(resize, MultiScale)
    sizes = {resize.size_of(0, number) for number in range(50)}
    assert len(sizes) > 3
    assert all(abs(height / 64 - width / 96) <= 16 / 64 for height, width in sizes)


def test_the_objectness_scales_with_the_area(tiny_cfg: Path) -> None:
    """160×40 pixels have as many cells as 80×80; SSD's loss has no such factor."""
    model = build(tiny_cfg)
    gains = []
    for size_hw in ((80, 80), (160, 40)):
        gains.append(task_of(Detect).criterion(model.head, size_hw, SETTINGS).objectness_gain)
    assert gains[0] == pytest.approx(gains[1])
    # (80 / 640)² · 3 / 2 levels
    assert gains[0] == pytest.approx(0.0234375)


def test_hints_name_the_shape(tiny_cfg: Path, yolo_wide: Path) -> None:
    """Images of 100×200 px in 64×96: factor min(64 / 100, 96 / 200) = 0.48."""
    model = build(tiny_cfg, ["a"])
    model.preprocess = Preprocess(size_hw=(64, 96))
    dataset = open_dataset(yolo_wide, "train")
    settings = SETTINGS.model_copy(update={"cfg": "m.yaml", "data": "d"})
    lines = task_of(Detect).hints(model, dataset, settings)
    assert lines[-1].startswith(
        "hint: detector anchors --cfg m.yaml --data d --imgsz 64,96 fits others"
    )
    # 4 px · 0.48 = 1.92 px; growth 2 / 1.92 = 1.0417: more than 66.7 and 100
    assert small_objects(model, dataset) == [
        "1 of 1 training objects are at most 2 px wide or high in the input of 64×96 px and cannot "
        "be learned; --imgsz 80,112 is the smallest size that shows the 1"
    ]


@pytest.fixture
def yolo_wide(tmp_path: Path) -> Path:
    """One image of 100×200 px with an object of 4×4 px."""
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / "a.png", np.zeros((100, 200, 3), np.uint8))
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.02 0.04\n")
    definition = tmp_path / "wide.yaml"
    definition.write_text("names: [a]\nsplits: {train: images/train, val: images/val}\n")
    return definition


def test_detect_in_the_shape(finder: Path, rng: np.random.Generator) -> None:
    """A red cell of 16 px at x 64, in an image that fits exactly; its box comes back."""
    image = np.full((32, 96, 3), 100, np.uint8)
    image[16:32, 64:80] = (200, 30, 30)
    (found,) = Predictor(finder, imgsz=(32, 96))(image)
    assert found.class_names == ["red"]
    np.testing.assert_allclose(found.boxes_xyxy, [[64, 16, 80, 32]], atol=0.01)


def test_val_in_the_shape(finder: Path, finder_data: Path, tmp_path: Path) -> None:
    """Images of 64×64 px are padded to 128×64, the one of 64×128 px is shrunk by half."""
    words = ["--weights", finder, "--data", finder_data, "--imgsz", "128,64", "--batch", 2]
    for more in ((), ("--letterbox", "rectangle")):
        assert run_tool("val", [*map(str, words), *more, "--json", str(tmp_path / "m.json")]) == 0
        assert yaml.safe_load((tmp_path / "m.json").read_text())["AP"] > 0.99


@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
def test_export_in_the_shape(finder: Path, finder_images: Path, tmp_path: Path, form: str) -> None:
    report = detector.export(finder, form, tmp_path / "wide", imgsz=(32, 96), batch=2)
    image = np.full((32, 96, 3), 100, np.uint8)
    image[16:32, 64:80] = (200, 30, 30)
    predictor = Predictor(report.path)
    assert predictor.backend.preprocess.size_hw == (32, 96)
    assert predictor.backend.batch_size == 2
    found = predictor([image, image[:, ::-1].copy(), image])
    boxes = [one.boxes_xyxy.round().tolist() for one in found]
    assert boxes == [[[64, 16, 80, 32]], [[16, 16, 32, 32]], [[64, 16, 80, 32]]]
    with pytest.raises(DetectorError, match="takes inputs of 32×96 only, found imgsz 96,32; "):
        Predictor(report.path, imgsz=(96, 32))


def test_turns_by_chance_are_refused(start: Start) -> None:
    """A turn by 90° changes the size of an image that is not square."""
    turns = ({"name": "RandomRotate90", "p": 1.0},)
    start("square", albumentations=turns)
    with pytest.raises(DetectorError) as caught:
        start("run", imgsz="64,96", albumentations=turns)
    assert str(caught.value) == (
        "albumentations[0]: RandomRotate90 gives (96, 64, 3) uint8 images, "
        "expected (64, 96, 3) uint8"
    )
