"""``--tta`` of ``detect`` and ``val``, and of the Predictor, on every kind of file."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import detector
from tests.conftest import FOUND

ANY_FILE = pytest.mark.parametrize(
    "weights", ["finder", "finder_onnx", "finder_openvino", "finder_pt2"]
)


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]
    for line in found:
        line.pop("seconds", None)
    return found


@ANY_FILE
def test_identity_alone_is_no_augmentation(
    weights: str, run: Any, finder_data: Path, finder_images: Path, request, tmp_path: Path
):
    """Of boxes and metrics every bit is the same."""
    file = request.getfixturevalue(weights)
    identity = ("--tta", "--no-tta-flip", "--tta-scales", "1")
    words = ("--weights", file, "--source", finder_images, "--no-draw", "--jsonl", "--output")
    assert run("detect", *words, tmp_path / "plain").code == 0
    assert run("detect", *words, tmp_path / "tta", *identity).code == 0
    assert lines(tmp_path / "tta") == lines(tmp_path / "plain")
    words = ("--weights", file, "--data", finder_data)
    plain, tta = run("val", *words), run("val", *words, *identity)
    assert tta.metrics == plain.metrics
    assert tta.out.splitlines()[:-1] == plain.out.splitlines()
    assert tta.out.splitlines()[-1] == "test-time augmentation: scale 1"


@ANY_FILE
def test_flipped(
    weights: str, run: Any, finder_data: Path, finder_images: Path, request, tmp_path: Path
):
    file = request.getfixturevalue(weights)
    words = ("--weights", file, "--source", finder_images, "--output", tmp_path, "--tta")
    ran = run("detect", *words, "--no-draw", "--jsonl")
    assert ran.code == 0
    assert ran.out.splitlines()[:2] == [
        "5 images: 3 red, 2 green",
        "test-time augmentation: scale 1, each flipped, too: 10 inputs of the network",
    ]
    assert (ran.metrics["images"], ran.metrics["inputs"]) == (5, 10)
    for line in lines(tmp_path):
        expected = FOUND[line["name"]]
        assert sorted(line["class_ids"]) == sorted(kind for kind, _ in expected)
    measured = run("val", "--weights", file, "--data", finder_data, "--tta")
    assert measured.metrics["AP"] == pytest.approx(1)


@pytest.mark.parametrize("weights", ["finder", "finder_openvino", "finder_pt2"])
def test_scales_of_files_that_take_any_size(
    weights: str, run: Any, finder_images: Path, request, tmp_path: Path
):
    file = request.getfixturevalue(weights)
    words = ("--weights", file, "--source", finder_images, "--output", tmp_path, "--no-draw")
    ran = run("detect", *words, "--tta", "--tta-scales", "1,1.5,2")
    assert ran.code == 0
    assert ran.metrics["inputs"] == 30
    assert "scale 1, 1.5, 2, each flipped, too: 30 inputs of the network" in ran.out


def test_scales_of_a_file_of_one_size(fails: Any, finder_onnx: Path, finder_data: Path):
    words = ("--weights", finder_onnx, "--data", finder_data, "--tta", "--tta-scales", "1,2")
    assert fails("val", *words) == (
        f"{finder_onnx}: takes inputs of 64×64 only, found tta_scales 2; export with --dynamic"
    )


def test_the_predictor(finder: Path, finder_images: Path):
    plain = detector.Predictor(finder).predict(finder_images / "c.png")
    predictor = detector.Predictor(finder, tta=True, tta_scales=[1])
    assert len(predictor.predict(finder_images / "c.png")) == len(plain) == 2
    assert predictor.timing.inputs == 2
    again = pickle.loads(pickle.dumps(predictor))
    again.predict(finder_images / "c.png")
    assert again.timing.inputs == 2


def test_in_python(finder: Path, finder_data: Path):
    metrics = detector.validate(finder, finder_data, tta=True)
    assert metrics.summary["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--tta --tta-scales 0", "--tta-scales: "),
        ("--tta --tta-scales 5", "--tta-scales: "),
        ("--tta --tta-scales big", "--tta-scales: "),
        ("--tta-scales 0.5", "--tta-scales: has no effect without tta, found "),
        ("--no-tta-flip", "--tta-flip: has no effect without tta, found False"),
    ],
)
def test_flags_that_do_not_fit(flags: str, message: str, fails: Any, finder: Path, tmp_path: Path):
    words = ("--weights", finder, *flags.split())
    assert fails("detect", *words, "--source", tmp_path).startswith(message)
    assert fails("val", *words, "--data", tmp_path).startswith(message)


@pytest.mark.parametrize(
    "other", ["--certificate", "--dump-inputs x", "--predictions x.json", "--tiles 64"]
)
def test_flags_that_it_does_not_go_with(other: str, fails: Any, finder: Path, finder_data: Path):
    words = ("--weights", finder, "--data", finder_data, "--tta", *other.split())
    assert fails("val", *words) == f"--tta does not go with {other.split(maxsplit=1)[0]}"


def test_tiles_and_views(fails: Any, finder: Path, finder_images: Path):
    words = ("--weights", finder, "--source", finder_images, "--tta", "--tiles", 64)
    assert fails("detect", *words) == "tta does not go with tiles"


def test_boxes_found_before(fails: Any, finder: Path, finder_data: Path):
    words = ("--weights", finder, "--data", finder_data, "--tta", "--predictions", "x.json")
    assert fails("analyse", *words) == (
        "--tta does not go with --predictions, whose boxes are taken unchanged"
    )
