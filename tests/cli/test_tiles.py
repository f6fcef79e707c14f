"""``--tiles`` of ``detect`` and ``val``, and of the Predictor, on every kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import detector
from detector.utils.errors import DetectorError
from detector.utils.opencv import write_image

SQUARES = {
    # 112 px are two tiles of 64 in a row, from 0 and from 48; 48..64 lies in all four.
    "a": [(0, (16, 16, 32, 32)), (1, (48, 48, 64, 64)), (0, (96, 96, 112, 112))],
    "b": [(1, (48, 0, 64, 16))],
    "c": [],
}
COLORS = ((200, 30, 30), (40, 180, 50))
TILES = ("--tiles", 64, "--tile-overlap", 0.25)


@pytest.fixture(scope="module")
def large_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of 112×112 px for the finder, whose input is 64×64."""
    root = tmp_path_factory.mktemp("large")
    (root / "labels").mkdir()
    for name, squares in SQUARES.items():
        image = np.full((112, 112, 3), 100, np.uint8)
        lines = []
        for kind, (x1, y1, x2, y2) in squares:
            image[y1:y2, x1:x2] = COLORS[kind]
            cx, cy = (x1 + x2) / 224, (y1 + y2) / 224
            lines.append(f"{kind} {cx} {cy} {(x2 - x1) / 112} {(y2 - y1) / 112}\n")
        write_image(root / "images" / f"{name}.png", image)
        (root / "labels" / f"{name}.txt").write_text("".join(lines))
    definition = root / "large.yaml"
    definition.write_text("names: [red, green]\nsplits: {train: images, val: images}\n")
    return definition


ANY_FILE = pytest.mark.parametrize(
    "weights", ["finder", "finder_onnx", "finder_openvino", "finder_pt2"]
)


@ANY_FILE
def test_detect_in_tiles(weights: str, run: Any, large_data: Path, request, tmp_path: Path):
    file, source = request.getfixturevalue(weights), large_data.parent / "images"
    words = ("--weights", file, "--source", source, "--output", tmp_path, *TILES)
    ran = run("detect", *words, "--no-tile-whole", "--no-draw", "--jsonl")
    assert ran.code == 0
    assert ran.out.splitlines()[:2] == [
        "3 images: 2 red, 2 green",
        "tiles of 64 px, overlap 0.25: 12 inputs of the network",
    ]
    assert (ran.metrics["images"], ran.metrics["inputs"]) == (3, 12)
    lines = [json.loads(line) for line in (tmp_path / "detections.jsonl").read_text().splitlines()]
    for line in lines:
        expected = SQUARES[line["name"]]
        assert sorted(line["class_ids"]) == sorted(kind for kind, _ in expected)
        found = sorted(line["boxes_xyxy"])
        assert np.reshape(found, (-1, 4)) == pytest.approx(
            np.reshape(sorted(box for _, box in expected), (-1, 4)), abs=1e-3
        )


@ANY_FILE
def test_ap_in_tiles_is_that_of_whole_images(weights: str, run: Any, large_data: Path, request):
    file = request.getfixturevalue(weights)
    words = ("--weights", file, "--data", large_data)
    tiled = run("val", *words, *TILES, "--no-tile-whole")
    assert tiled.code == 0
    assert tiled.metrics["AP"] == pytest.approx(1)
    assert tiled.out.splitlines()[-1] == "tiles of 64 px, overlap 0.25"
    plain = run("val", *words)
    assert plain.metrics["AP"] < 0.5
    assert "tiles" not in plain.out


def test_the_predictor_takes_tiles(finder: Path, large_data: Path):
    image = large_data.parent / "images" / "a.png"
    predictor = detector.Predictor(finder, tiles=64, tile_overlap=0.25, tile_whole=False, batch=3)
    found = predictor.predict(image)
    assert sorted(found.class_ids.tolist()) == [0, 0, 1]
    limited = detector.Predictor(
        finder, tiles=64, tile_overlap=0.25, tile_whole=False, max_detections=2
    )
    assert limited.predict(image).boxes_xyxy.tolist() == found.boxes_xyxy[:2].tolist()
    metrics = detector.validate(
        finder, large_data, tiles=64, tile_overlap=0.25, tile_whole=False, batch=2
    )
    assert metrics.summary["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"tiles": 31}, "tiles: expected at least 32, found 31"),
        ({"tiles": 8193}, "tiles: expected at most 8192, found 8193"),
        (
            {"tiles": 64, "tile_overlap": 0.9},
            "tile_overlap: expected less than 0.9, found 0.9",
        ),
        ({"tiles": 64, "tile_overlap": -0.1}, "tile_overlap: expected at least 0, found -0.1"),
        ({"tile_overlap": 0.5}, "tile_overlap: has no effect without tiles, found 0.5"),
        ({"tile_whole": False}, "tile_whole: has no effect without tiles, found False"),
        ({"tile": 64}, "unknown keyword 'tile'; did you mean 'tiles'?"),
    ],
)
def test_values_that_do_not_fit(keywords: dict[str, Any], message: str, finder: Path):
    with pytest.raises(DetectorError) as caught:
        detector.Predictor(finder, **keywords)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--tiles 16", "--tiles: expected at least 32, found '16'"),
        ("--tiles 640 --tile-overlap 1", "--tile-overlap: expected less than 0.9, found '1'"),
        ("--tile-overlap 0.5", "--tile-overlap: has no effect without tiles, found '0.5'"),
        ("--no-tile-whole", "--tile-whole: has no effect without tiles, found False"),
    ],
)
def test_flags_that_do_not_fit(flags: str, message: str, fails: Any, finder: Path, tmp_path: Path):
    words = ("--weights", finder, *flags.split())
    assert fails("detect", *words, "--source", tmp_path) == message
    assert fails("val", *words, "--data", tmp_path) == message


@pytest.mark.parametrize("other", ["--certificate", "--dump-inputs x", "--predictions x.json"])
def test_flags_that_tiles_do_not_go_with(other: str, fails: Any, finder: Path, large_data: Path):
    words = ("--weights", finder, "--data", large_data, "--tiles", 64, *other.split())
    assert fails("val", *words) == f"--tiles does not go with {other.split(maxsplit=1)[0]}"


@pytest.mark.slow
def test_a_file_that_holds_its_nms(run: Any, fails: Any, finder: Path, large_data, tmp_path: Path):
    file = tmp_path / "held.onnx"
    assert run("export", "--weights", finder, "--nms", "--output", file).code == 0
    message = (
        f"{file}: holds its NMS, which would drop boxes before those of all tiles are known, found "
        "tiles 64; export it without --nms"
    )
    words = ("--weights", file, "--tiles", 64)
    assert fails("val", *words, "--data", large_data) == message
    assert fails("detect", *words, "--source", large_data.parent / "images") == message
