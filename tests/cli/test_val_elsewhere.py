"""``val`` on what another machine computed: inputs written for it, outputs and boxes scored."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from detector.export.request import export
from detector.predict import open_backend

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def decoded_onnx(finder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finder as ONNX, with boxes and scores as outputs."""
    path = tmp_path_factory.mktemp("decoded") / "finder.onnx"
    return export(finder, "onnx", path, decoded=True).path


@pytest.fixture(params=[("finder_onnx", ["level_0"]), ("decoded_onnx", ["boxes_xyxy", "scores"])])
def exported(request: pytest.FixtureRequest) -> tuple[Path, list[str]]:
    """An exported finder, and the names of its outputs."""
    name, outputs = request.param
    return request.getfixturevalue(name), outputs


@pytest.fixture
def dumped(run: Run, exported: tuple[Path, list[str]], finder_data: Path, tmp_path: Path) -> Path:
    """The finder's inputs."""
    folder = tmp_path / "inputs"
    ran = run("val", "--weights", exported[0], "--data", finder_data, "--dump-inputs", folder)
    assert ran.metrics == {"images": 5}
    return folder


@pytest.fixture
def by_hand(
    dumped: Path, exported: tuple[Path, list[str]]
) -> list[tuple[int, dict[str, np.ndarray]]]:
    """Outputs of ONNX Runtime alone for the dumped inputs: image id and outputs by name."""
    listed = json.loads((dumped / "inputs.json").read_text())
    session = onnxruntime.InferenceSession(exported[0])
    found = []
    for image in listed["images"]:
        feed = {listed["input"]: np.load(dumped / image["file"])}
        outputs = session.run(listed["outputs"], feed)
        found.append((image["image_id"], dict(zip(listed["outputs"], outputs, strict=True))))
    return found


def test_the_dumped_inputs(dumped: Path, exported: tuple[Path, list[str]]):
    listed = json.loads((dumped / "inputs.json").read_text())
    assert listed["input"] == "images"
    assert listed["outputs"] == exported[1]
    assert listed["names"] == ["red", "green"]
    assert listed["preprocess"]["size_hw"] == [64, 64]
    assert [image["image"] for image in listed["images"]] == [f"{name}.png" for name in "abcde"]
    # d has 64×128 pixels: half as large, between bars of 16 rows.
    assert listed["images"][3] == {
        "image_id": 4,
        "file": "4.npy",
        "image": "d.png",
        "size_hw": [64, 128],
        "scale_xy": [0.5, 0.5],
        "offset_xy": [0, 16],
    }
    array = np.load(dumped / "4.npy")
    assert (array.shape, array.dtype) == ((1, 3, 64, 64), np.float32)
    assert (array[0, :, 0, 0] == np.float32(114 / 255)).all()


def test_outputs_of_another_machine_give_the_same_metrics(
    run: Run,
    exported: tuple[Path, list[str]],
    finder_data: Path,
    by_hand: list[Any],
    tmp_path: Path,
):
    """A file for each image, and one for all; the list of the inputs lies beside them."""
    (tmp_path / "each").mkdir()
    for folder in (tmp_path, tmp_path / "each"):
        shutil.copy(tmp_path / "inputs" / "inputs.json", folder)
    for image_id, outputs in by_hand:
        np.savez(tmp_path / "each" / f"{image_id}.npz", **outputs)
    stacked = {
        name: np.concatenate([outputs[name] for _, outputs in by_hand]) for name in by_hand[0][1]
    }
    np.savez(tmp_path / "all.npz", **stacked)
    words = ("--weights", exported[0], "--data", finder_data, "--max-detections", 3)
    expected = run("val", *words)
    assert expected.metrics["AP"] == pytest.approx(1)
    for returned in ("each", "all.npz"):
        ran = run("val", *words, "--predictions", tmp_path / returned)
        assert ran.metrics == expected.metrics
        assert ran.out == expected.out


def test_boxes_of_another_machine_give_the_same_metrics(
    run: Run, finder: Path, finder_data: Path, tmp_path: Path
):
    words = ("--weights", finder, "--data", finder_data)
    file = tmp_path / "boxes.json"
    expected = run("val", *words, "--save-predictions", file)
    assert run("val", *words, "--predictions", file).metrics == expected.metrics
    boxes = json.loads(file.read_text())
    foreign = [box | {"id": 7, "area": 0.5, "segmentation": []} for box in boxes]
    file.write_text(json.dumps(foreign))
    assert run("val", *words, "--predictions", file).metrics == expected.metrics
    kept = [box for box in boxes if box["image_id"] != 2]  # the only green square but one
    file.write_text(json.dumps(kept))
    assert run("val", *words, "--predictions", file).metrics["per_class"]["green"] < 0.6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not a list of results: "),
        ("{}", "not a list of results: expected a list"),
        ('[{"image_id": 1}]', "not a list of results: key '0.category_id' is missing"),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 1}]',
            "not a list of results: ",
        ),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, NaN], "score": 1}]',
            "not a list of results: ",
        ),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": NaN}]',
            "not a list of results: 0.score: expected a finite number, found nan",
        ),
        (
            '[{"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]',
            "image_id 9 is not in the split",
        ),
        (
            '[{"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1], "score": 1}]',
            "category_id 9 is not in the data",
        ),
    ],
)
def test_boxes_that_are_none(
    fails: Run, finder: Path, finder_data: Path, tmp_path: Path, content: str, message: str
):
    file = tmp_path / "boxes.json"
    file.write_text(content)
    found = fails("val", "--weights", finder, "--data", finder_data, "--predictions", file)
    assert found.startswith(f"{file}: {message}")


def test_sizes_are_those_of_the_list(run: Run, finder_pt2: Path, finder_data: Path, tmp_path: Path):
    """d, 64×128 pixels, is an input of its own size; without the flags it would be half that."""
    words = ("--weights", finder_pt2, "--data", finder_data)
    sizes = ("--imgsz", 128, "--letterbox", "rectangle")
    expected = run("val", *words, *sizes).metrics
    assert expected["AP"] != pytest.approx(run("val", *words).metrics["AP"])
    run("val", *words, *sizes, "--dump-inputs", tmp_path)
    backend = open_backend(finder_pt2)
    for file in tmp_path.glob("*.npy"):
        boxes_xyxy, scores = backend.decoded(np.load(file))
        np.savez(file.with_suffix(".npz"), boxes_xyxy=boxes_xyxy, scores=scores)
    assert np.load(tmp_path / "4.npy").shape == (1, 3, 64, 128)
    assert run("val", *words, "--predictions", tmp_path).metrics == expected


def test_outputs_that_are_none(
    fails: Run, finder: Path, finder_data: Path, by_hand: list[Any], tmp_path: Path
):
    def message(file: Path) -> str:
        return fails("val", "--weights", finder, "--data", finder_data, "--predictions", file)

    folder = tmp_path / "each"
    folder.mkdir()
    listed = folder / "inputs.json"
    assert message(folder) == (
        f"{listed}: cannot be read: No such file or directory; outputs are scored beside the list "
        "that --dump-inputs wrote"
    )
    shutil.copy(tmp_path / "inputs" / "inputs.json", folder)
    assert message(folder) == f"{folder / '1.npz'}: cannot be read: No such file or directory"
    _, outputs = by_hand[0]
    first = folder / "1.npz"
    if "scores" in outputs:
        np.savez(first, boxes_xyxy=outputs["boxes_xyxy"], scores=outputs["scores"][:, :, :1])
        expected = "'scores' has shape (1, 32, 1), expected (1, 32, 2)"
    else:
        np.savez(first, level_0=outputs["level_0"][:, :13])
        expected = "'level_0' has shape (1, 13, 4, 4), expected (1, 14, 4, 4)"
    assert message(folder) == f"{first}: {expected}"
