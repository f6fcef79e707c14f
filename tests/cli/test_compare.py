"""``compare``: models and predictions on the same images, with intervals of their differences."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import detector
from detector.evaluation.intervals import draw

Run = Callable[..., Any]


@pytest.fixture
def predictions(run: Run, finder: Path, finder_data: Path, tmp_path: Path) -> Path:
    """The finder's five boxes as predictions."""
    file = tmp_path / "found.json"
    words = ("--weights", finder, "--data", finder_data, "--save-predictions", file)
    assert run("val", *words, "--confidence", 0.5).code == 0
    return file


@pytest.fixture
def without_first(predictions: Path) -> Path:
    """The same without the box of image 1, which is red."""
    file = predictions.with_name("fewer.json")
    found = json.loads(predictions.read_text())
    file.write_text(json.dumps([one for one in found if one["image_id"] != 1]))
    return file


def test_one_of_three_red_objects_is_missed(
    run: Run, predictions: Path, without_first: Path, finder_data: Path
):
    """Recalls up to ⅔ are reached at precision 1: 67 of 101; green is found in both.

    B is worse on each resample that has image 1.
    """
    ran = run("compare", predictions, without_first, "--data", finder_data)
    assert (ran.code, ran.err) == (0, "")
    first, second = ran.metrics["models"]
    assert (first["letter"], first["name"]) == ("A", str(predictions))
    assert first["difference_from_first"] is None
    assert first["metrics"]["AP"] == pytest.approx(1)
    assert first["metrics"]["bootstrap"]["intervals"]["AP"] == pytest.approx([1, 1])
    found = second["difference_from_first"]
    assert found["AP"]["value"] == pytest.approx((67 / 101 - 1) / 2)
    weights = draw(5, 1000)
    assert found["AP"]["higher"] == 0
    assert found["AP"]["lower"] == np.count_nonzero(weights[:, 0])
    assert found["AP"]["resamples"] == np.count_nonzero(weights[:, :4].any(axis=1))
    red, green = found["per_class"]["red"], found["per_class"]["green"]
    assert list(found["per_class"]) == ["red", "green"]  # the largest first
    assert red["value"] == pytest.approx(67 / 101 - 1)
    assert red["resamples"] == np.count_nonzero(weights[:, [0, 2, 3]].any(axis=1))
    assert (green["value"], green["interval"]) == (0, None)
    assert second["ms_per_image"] is None
    assert second["size_mb"] is None
    lines = ran.out.splitlines()
    assert f"B: {without_first}" in lines
    low, high = found["AP"]["interval"]
    assert (
        f"A is better in {found['AP']['lower']} of {found['AP']['resamples']} resamples; "
        f"the interval of B − A covers 0"
    ) in lines
    row = next(line for line in lines if line.startswith("B "))
    assert row.split()[1] == "0.8317"  # (67/101 + 1) / 2
    assert row.split()[6:10] == ["-0.1683", f"{low:+.4f}", "to", f"{high:+.4f}"]
    row = next(line for line in lines if line.startswith("green"))
    assert row.split(maxsplit=3)[1:] == ["1.0000", "1.0000", "no difference  –"]


def test_another_library_gives_the_same_comparison(
    run: Run, predictions: Path, without_first: Path, finder_data: Path
):
    pytest.importorskip("faster_coco_eval", reason="needs the extra faster")
    words = (predictions, without_first, "--data", finder_data, "--bootstrap", 100)
    plain = run("compare", *words)
    fast = run("compare", *words, "--evaluator", "faster-coco-eval")
    assert (fast.code, fast.err) == (0, "")
    assert fast.out.replace("faster-coco-eval", "pycocotools") == plain.out
    for one, other in zip(plain.metrics["models"], fast.metrics["models"], strict=True):
        assert other["metrics"]["bootstrap"] == one["metrics"]["bootstrap"]
        assert other["metrics"]["AP"] == pytest.approx(one["metrics"]["AP"], abs=1e-12)


def test_a_model_with_itself_and_with_its_own_predictions(
    run: Run, finder: Path, finder_data: Path, tmp_path: Path
):
    file = tmp_path / "all.json"
    words = ("--data", finder_data)
    assert run("val", "--weights", finder, *words, "--save-predictions", file).code == 0
    ran = run("compare", finder, "--bootstrap", 100, finder, *words, file)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert "B has the predictions of A: no difference" in lines
    assert "C has the predictions of A: no difference" in lines
    models = ran.metrics["models"]
    assert [model["same_predictions_as_first"] for model in models] == [False, True, True]
    assert models[1]["difference_from_first"]["AP"] == {
        "value": 0,
        "interval": None,
        "higher": 0,
        "lower": 0,
        "resamples": 100,
    }
    assert models[0]["size_mb"] == finder.stat().st_size / 1e6
    assert models[0]["ms_per_image"] > 0
    assert models[2]["ms_per_image"] is None


def test_other_formats(
    run: Run, finder: Path, finder_onnx: Path, finder_openvino: Path, finder_data: Path
):
    """All find everything; OpenVINO's weights lie beside its file."""
    ran = run("compare", finder_onnx, finder_openvino, finder, "--data", finder_data)
    assert (ran.code, ran.err) == (0, "")
    onnx, openvino, _ = ran.metrics["models"]
    assert [model["metrics"]["AP"] for model in ran.metrics["models"]] == pytest.approx([1] * 3)
    both = finder_openvino.stat().st_size + finder_openvino.with_suffix(".bin").stat().st_size
    assert openvino["size_mb"] == both / 1e6
    assert onnx["size_mb"] == finder_onnx.stat().st_size / 1e6
    assert ran.out.count("no difference\n") == 2


def test_classes_in_another_order(run: Run, finder: Path, finder_data: Path, tmp_path: Path):
    """Names change places: what is red is called green, so that nothing is right."""
    other = _renamed(finder, ("green", "red"), tmp_path)
    ran = run("compare", finder, other, "--data", finder_data, "--confidence", 0.5)
    assert (ran.code, ran.err) == (0, "")
    assert [model["metrics"]["AP"] for model in ran.metrics["models"]] == pytest.approx([1, 0])
    assert "the interval of B − A does not cover 0" in ran.out


def _renamed(weights: Path, names: tuple[str, ...], folder: Path) -> Path:
    model = detector.load(weights)
    (folder / "renamed.yaml").write_text(model.definition.text)
    renamed = detector.build(folder / "renamed.yaml", classes=names)
    renamed.load_state_dict(model.state_dict())
    file = folder / "renamed.safetensors"
    detector.save(renamed, file)
    return file


def test_classes_that_differ(fails: Run, finder: Path, finder_data: Path, tmp_path: Path):
    other = _renamed(finder, ("red", "blue"), tmp_path)
    assert fails("compare", finder, other, "--data", finder_data) == (
        f"{other}: its classes are not those of {finder}: it lacks 'green' and adds 'blue'"
    )


def test_one_model_only(fails: Run, finder: Path, finder_data: Path):
    assert fails("compare", finder, "--data", finder_data) == (
        f"expected two models or more, up to 26, found 1, {finder}"
    )
    assert fails("compare", "--data", finder_data) == "MODELS is missing"


def test_predictions_of_other_images(fails: Run, predictions: Path, finder_data: Path):
    other = predictions.with_name("other.json")
    found = json.loads(predictions.read_text())
    other.write_text(json.dumps([{**found[0], "image_id": 77}]))
    words = ("compare", predictions, other, "--data", finder_data)
    assert fails(*words) == f"{other}: image_id 77 is not in the split"
    other.write_text(json.dumps([{**found[0], "file_name": "test/z.png"}]))
    assert fails(*words) == (
        f"{other}: image_id 1 has file_name 'test/z.png', in the split it is 'a.png'"
    )
    other.write_text(json.dumps([{**found[0], "file_name": "val\\a.png"}]))
    assert detector.compare(predictions, other, data=finder_data).images == 5


def test_an_empty_data_set(fails: Run, predictions: Path, finder_data: Path, tmp_path: Path):
    root = tmp_path / "empty"
    (root / "images").mkdir(parents=True)
    shutil.copy(finder_data, root / "squares.yaml")
    assert fails("compare", predictions, predictions, "--data", root / "squares.yaml") == (
        f"{root / 'images'}: no image in this folder"
    )


def test_flags_without_effect(fails: Run, finder: Path, predictions: Path, finder_data: Path):
    words = ("compare", finder, predictions, "--data", finder_data)
    assert fails(*words, "--iou", 0.5) == (
        f"{predictions}: --iou does not go with predictions, which are scored unchanged"
    )
    assert fails(*words, "--tiles", 32) == (
        f"{predictions}: --tiles does not go with predictions, which are scored unchanged"
    )
    assert fails(*words, "--bootstrap", 0) == "--bootstrap: expected at least 100, found '0'"
    assert fails(*words[:-2]).startswith("--data is missing, the images to measure on: ")


def test_from_python(finder: Path, without_first: Path, finder_data: Path):
    model = detector.load(finder)
    found = detector.compare(model, without_first, data=finder_data, bootstrap=200)
    first, second = found.models
    assert (first.name, first.size_mb) == ("network in memory", None)
    assert second.metrics.summary["AP"] == pytest.approx((67 / 101 + 1) / 2)
    assert second.differences["AP"].resamples <= 200
    assert found.to_dict()["images"] == 5


def test_tiles(finder: Path, finder_data: Path):
    """Cut into tiles, the images are measured as by ``validate``."""
    tiled = detector.validate(finder, finder_data, tiles=32)
    assert tiled.summary != detector.validate(finder, finder_data).summary
    found = detector.compare(finder, finder, data=finder_data, bootstrap=200, tiles=32)
    assert [model.metrics.summary for model in found.models] == [tiled.summary] * 2
    assert detector.analyse(finder, finder_data, tiles=32).metrics.summary == tiled.summary
