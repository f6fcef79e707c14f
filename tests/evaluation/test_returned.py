"""Outputs that came back: taken for the images that they are of, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.evaluation.inputs import InputList, dump_inputs
from detector.evaluation.returned import ReturnedOutputs
from detector.runtime.backends.backend import OUTPUTS_AFTER_NMS
from detector.runtime.backends.exported import INPUT, ExportedBackend
from detector.runtime.decoding.decoding import decode_all
from detector.runtime.decoding.points import CentreDecoding
from detector.settings.nms import NmsSettings
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image
from tests.runtime.conftest import BOXES, METADATA, SCORES, SIZE_HW, FakeBackend, grey

IMAGE = np.zeros((1, 3, *SIZE_HW), np.float32)


class Network(FakeBackend):
    eval_nms = NmsSettings()


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    found = []
    for number in (1, 2):
        path = tmp_path / f"{number}.png"
        write_image(path, grey(100))
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        found.append(Sample(path, *empty, SIZE_HW, image_id=number))
    return found


@pytest.fixture
def folder(tmp_path: Path, samples: list[Sample]) -> Path:
    """With a list of the inputs."""
    dump_inputs(tmp_path / "back", samples, Network())
    return tmp_path / "back"


def returned(folder: Path, samples: list[Sample], **arrays: Any) -> list[tuple[np.ndarray, ...]]:
    """What comes for each image of one file with these arrays."""
    np.savez(folder / "all.npz", **arrays)
    outputs = ReturnedOutputs(folder / "all.npz", Network(), samples)
    return [outputs(IMAGE) for _ in samples]


def test_one_for_all_and_one_for_each(folder: Path, samples: list[Sample]):
    stacked = {"boxes_xyxy": np.stack([BOXES, BOXES + 1]), "scores": np.stack([SCORES, SCORES / 2])}
    for index, (boxes, scores) in enumerate(returned(folder, samples, **stacked)):
        assert np.array_equal(boxes, BOXES[None] + index)
        assert np.array_equal(scores, SCORES[None] / (1 + index))
    np.savez(folder / "1.npz", **{name: array[:1] for name, array in stacked.items()})
    np.savez(folder / "2.npz", **{name: array[1] for name, array in stacked.items()})  # no batch
    outputs = ReturnedOutputs(folder, Network(), samples)
    for index in range(2):
        boxes, scores = outputs(IMAGE)
        assert np.array_equal(boxes, BOXES[None] + index)
        assert scores.shape == (1, 3, 2)


def test_raw_outputs_are_decoded(tmp_path: Path, samples: list[Sample]):
    """As the list says, which has the way of decoding; decoded ones are taken, too."""
    decoding = CentreDecoding(strides=(16,))
    metadata = METADATA.model_copy(update={"decoding": decoding})
    network = ExportedBackend(
        tmp_path / "a", metadata, {INPUT: (1, 3, *SIZE_HW)}, {"level_0": (1, 7, 2, 4)}
    )
    dump_inputs(tmp_path / "raw", samples, network)
    listed = InputList.read(tmp_path / "raw")
    assert (listed.outputs, listed.decoding) == (("level_0",), decoding)
    maps = np.random.default_rng(0).normal(size=(2, 7, 2, 4)).astype(np.float32)
    boxes, scores = decode_all(decoding, [maps])
    assert boxes.shape == (2, 8, 4)
    for stored in ({"level_0": maps}, {"boxes_xyxy": boxes, "scores": scores}):
        for index, found in enumerate(returned(tmp_path / "raw", samples, **stored)):
            assert np.array_equal(found[0], boxes[index : index + 1])
            assert np.array_equal(found[1], scores[index : index + 1])
    with pytest.raises(DetectorError, match=r"all\.npz: has no array 'level_0'$"):
        returned(tmp_path / "raw", samples, other=maps)


def test_a_single_box_without_a_batch(folder: Path, samples: list[Sample]):
    np.savez(folder / "1.npz", boxes_xyxy=BOXES[:1], scores=SCORES[:1])
    boxes, scores = ReturnedOutputs(folder, Network(), samples)(IMAGE)
    assert (boxes.shape, scores.shape) == ((1, 1, 4), (1, 1, 2))


def test_kept_boxes_in_any_order(folder: Path, samples: list[Sample]):
    """float64 and int32 are as good; NMS is not applied again."""
    kept = {
        "boxes_xyxy": np.stack([BOXES] * 2).astype(np.float64),
        "scores": np.array([[0.5, 0.9, 0.1]] * 2),
        "class_ids": np.array([[0, 1, 0]] * 2, np.int32),
    }
    np.savez(folder / "all.npz", **kept)
    outputs = ReturnedOutputs(folder / "all.npz", Network(), samples)
    first = tuple(part[0] for part in outputs(IMAGE))
    boxes, scores, class_ids = outputs.postprocess(first, NmsSettings())
    assert np.array_equal(boxes, BOXES[[1, 0]])
    assert scores.tolist() == pytest.approx([0.9, 0.5])
    assert class_ids.tolist() == [1, 0]


TWO = np.stack([BOXES] * 2)
ROWS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "has no array 'boxes_xyxy'"),
        ({"boxes_xyxy": BOXES[None]}, "'boxes_xyxy' is 1×3×4, expected 2 images"),
        ({"boxes_xyxy": BOXES}, "'boxes_xyxy' is 3×4, expected 2 images"),
        ({"boxes_xyxy": TWO, "scores": np.zeros((2, 3, 5))},
         "'scores' has shape (1, 3, 5), expected (1, 3, 2)"),
        ({"boxes_xyxy": TWO, "scores": np.full((2, 3, 2), "0.5")},
         "'scores' is of type <U3, expected float32"),
        ({"boxes_xyxy": TWO * np.nan, "scores": np.zeros((2, 3, 2))},
         "'boxes_xyxy' has a value that is not finite"),
        ({"boxes_xyxy": TWO, "scores": ROWS, "class_ids": ROWS.astype(int) + 7},
         "'class_ids' are 7 to 7, expected -1 to 1"),
        ({"boxes_xyxy": TWO, "scores": ROWS, "class_ids": ROWS},
         "'class_ids' is of type float64, expected int64"),
    ],
)  # fmt: skip
def test_outputs_that_are_none(
    folder: Path, samples: list[Sample], arrays: dict[str, Any], message: str
):
    with pytest.raises(DetectorError) as caught:
        returned(folder, samples, **arrays)
    assert str(caught.value) == f"{folder / 'all.npz'}: {message}"


def test_a_list_about_something_else(folder: Path, samples: list[Sample]):
    def message(backend: Network, samples: list[Sample]) -> str:
        with pytest.raises(DetectorError) as caught:
            ReturnedOutputs(folder, backend, samples)
        return str(caught.value).removeprefix(f"{folder / 'inputs.json'}: ")

    other = Network()
    other.names = ("dog", "cat")
    assert message(other, samples) == "its class names are not those of the weights"
    other = Network()
    other.preprocess = Preprocess(size_hw=SIZE_HW, mode="stretch")
    assert message(other, samples) == "mode is 'letterbox', the weights say 'stretch'"
    assert message(Network(), samples[:1]) == "lists 2 images, the split has 1"
    assert message(Network(), samples[::-1]) == (
        "lists '1.png' with image_id 1, where the split has '2.png' with 2"
    )
    (folder / "inputs.json").write_text("{}")
    assert message(Network(), samples) == "not a list of inputs: key 'input' is missing"


def test_a_file_with_nms_inside(tmp_path: Path, samples: list[Sample]):
    """The list has the names of what such a file gives."""
    metadata = METADATA.model_copy(update={"nms": NmsSettings()})
    inputs = {INPUT: (None, 3, None, None)}
    file = ExportedBackend(Path("x.onnx"), metadata, inputs, dict.fromkeys(OUTPUTS_AFTER_NMS, ()))
    dump_inputs(tmp_path / "back", samples, file)
    assert InputList.read(tmp_path / "back").outputs == ("boxes_xyxy", "scores", "class_ids")


def test_sizes_of_the_list(folder: Path, samples: list[Sample]):
    listed = InputList.read(folder)
    other = Network()
    other.preprocess = Preprocess(size_hw=(64, 64), rectangle=32)
    assert ReturnedOutputs(folder, other, samples).preprocess == listed.preprocess
