"""Small images, a network that is a few numbers, and the same as an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.runtime.backends.backend import METADATA_KEY, Arrays, KeptBoxes, ModelMetadata
from detector.runtime.backends.seal import SEAL_KEY, UNSEALED, seal
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings
from detector.structures.preprocess import Preprocess
from detector.utils.opencv import write_image

NAMES = ("cat", "dog")
SIZE_HW = (32, 64)

# (3, 4) boxes in pixels of the 32×64 input; the second overlaps the first with IoU 0.9.
BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [40, 8, 60, 24]], np.float32)
# (3, 2) scores of an image of brightness 1; the network multiplies them with the brightness.
SCORES = np.array([[0.9, 0.1], [0.8, 0.1], [0.2, 0.7]], np.float32)

METADATA = ModelMetadata(names=NAMES, preprocess=Preprocess(size_hw=SIZE_HW), version="1.0")


def grey(level: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """An image of one grey level."""
    return np.full((*size_hw, 3), level, np.uint8)


class FakeBackend:
    """What the ONNX file of ``make_onnx`` computes, in numpy; it notes its inputs' shapes."""

    def __init__(self, batch_size: int | None = None) -> None:
        self.task = "detect"
        self.names = NAMES
        self.preprocess = METADATA.preprocess
        self.batch_size = batch_size
        self.dynamic_size = False
        self.stride = 32
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert images.dtype == np.float32
        self.shapes.append(images.shape)
        brightness = images.mean(axis=(1, 2, 3)).reshape(-1, 1, 1)
        return np.repeat(BOXES[None], len(images), 0), brightness * SCORES

    def postprocess(self, outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
        return nms(*outputs, settings)


class FakeClassifier(FakeBackend):
    """The brighter the image, the more it is a dog."""

    def __init__(self, batch_size: int | None = None) -> None:
        super().__init__(batch_size)
        self.task = "classify"

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray]:
        brightness = images.mean(axis=(1, 2, 3))
        return (np.stack((1 - brightness, brightness), 1),)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three images: black, half bright, white."""
    folder = tmp_path / "images"
    for name, level in (("a", 0), ("b", 128), ("c", 255)):
        write_image(folder / f"{name}.png", grey(level))
    return folder


@pytest.fixture
def make_onnx(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an ONNX file; keyword arguments spoil it in one way."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def make(
        batch: int | str = "batch",
        size: tuple[int | str, int | str] = SIZE_HW,
        metadata: str | None = METADATA.to_json(),
        input_name: str = "images",
        outputs: tuple[str, str] = ("boxes_xyxy", "scores"),
        scores: np.ndarray = SCORES,
        elem_type: int = TensorProto.FLOAT,
        boxes: np.ndarray = BOXES,
        declared: tuple[int | str, ...] | None = None,
    ) -> Path:
        boxes_name, scores_name = outputs
        constants = {
            "axes": np.array([1, 2, 3]),
            "shape": np.array([-1, *(1 for _ in scores.shape)]),
            "zero": np.zeros(1, np.float32),
            "boxes": boxes,
            "levels": scores,
        }
        float32 = TensorProto.FLOAT
        graph = helper.make_graph(
            [
                helper.make_node("Cast", [input_name], ["pixels"], to=float32),
                helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"]),
                helper.make_node("Reshape", ["mean", "shape"], ["brightness"]),
                helper.make_node("Mul", ["brightness", "levels"], [scores_name]),
                helper.make_node("Mul", ["brightness", "zero"], ["nothing"]),
                helper.make_node("Add", ["nothing", "boxes"], [boxes_name]),
            ],
            "tiny",
            [helper.make_tensor_value_info(input_name, elem_type, [batch, 3, *size])],
            [
                helper.make_tensor_value_info(boxes_name, float32, declared or [batch, 3, 4]),
                helper.make_tensor_value_info(scores_name, float32, [batch, *scores.shape]),
            ],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model: Any = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
        )
        properties = {} if metadata is None else {METADATA_KEY: metadata}
        helper.set_model_props(model, {**properties, SEAL_KEY: UNSEALED})
        path = tmp_path / "x.onnx"
        onnx.save(model, str(path))
        seal(path)
        return path

    return make
